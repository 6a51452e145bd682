"""TODO: tinyseq/ir."""
