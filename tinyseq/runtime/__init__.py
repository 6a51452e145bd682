"""TODO: tinyseq/runtime."""
