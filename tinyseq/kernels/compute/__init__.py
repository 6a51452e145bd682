"""TODO: tinyseq/kernels/compute."""
