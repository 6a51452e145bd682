"""Finds the speech in a sound file, streaming a voice detector over it.

The way of the data: ``audio`` of all demonstrations reads a file, ``detection`` has the voice detector hear
it, ``picture`` draws both.
"""
