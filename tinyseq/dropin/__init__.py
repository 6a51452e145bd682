"""TODO: tinyseq/dropin."""
