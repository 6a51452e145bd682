"""Benchmarks of C libraries. ``python -m bench.edge`` measures them, beside others that make code of models.

``models`` says what is computed, ``rivals`` makes shared libraries of it, each with one function, and
``clock.c`` calls them.
"""
