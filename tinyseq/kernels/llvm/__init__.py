"""TODO: tinyseq/kernels/llvm."""
