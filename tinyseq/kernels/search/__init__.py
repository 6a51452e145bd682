"""Kernels of searches: beams, sampling, prefix searches over frames, language models."""
