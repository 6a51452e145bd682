"""Scripts that real clients run, each in an environment of its own, without tinyseq."""
