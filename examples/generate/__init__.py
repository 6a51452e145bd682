"""Writes on from a prompt like the King James Bible, one piece of a word at a time; scores texts."""
