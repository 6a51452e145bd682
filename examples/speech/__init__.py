"""Recognises digits and commands while they are said."""
