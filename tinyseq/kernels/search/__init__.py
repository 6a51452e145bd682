"""TODO: tinyseq/kernels/search."""
