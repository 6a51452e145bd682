"""Measures tinyseq on a CUDA device; see ``python -m bench.cuda --help``. Needs no network."""
