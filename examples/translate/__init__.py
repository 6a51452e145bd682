"""Translates the texts of a home's controls, English to Spanish and German, by attention and beam search."""
