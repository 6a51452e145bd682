"""Writes on from a prompt like the King James Bible, character by character; scores texts."""
