"""Twins of the kernels for CUDA, compiled when first used and kept."""
