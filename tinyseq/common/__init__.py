"""TODO: tinyseq/common."""
