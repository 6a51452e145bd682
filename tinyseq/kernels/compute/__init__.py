"""Kernels of ops: products, recurrent layers, element by element, indexing, control flow."""
