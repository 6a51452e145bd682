"""Recognises digits, numbers, cards and commands while they are said."""
