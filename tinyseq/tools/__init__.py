"""TODO: tinyseq/tools."""
