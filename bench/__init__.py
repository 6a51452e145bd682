"""Benchmarks. ``python -m bench`` measures tinyseq against the other runtimes that are installed.

The way of the data: ``cases`` says what is computed, ``rivals`` who computes it, ``timing`` how calls
are timed against each other, ``measures`` turns all of it into rows, ``report`` shows and keeps them;
``decoding`` does all of that for decoders of CTC, ``transducing`` for transducers.
"""
