"""The demonstration: a voice detector over a clip.

The way of the data: ``audio`` reads a file, ``vad`` has the voice detector hear it, ``picture`` draws
both, ``command`` is ``tinyseq demo``.
"""
