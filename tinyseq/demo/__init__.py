"""The demonstration: a voice detector over a clip.

The way of the data: ``audio`` reads a file, ``vad`` turns it into probabilities and segments of speech,
``picture`` draws them, ``command`` is ``tinyseq demo``.
"""
