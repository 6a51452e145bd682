"""Tools: the command line and what it shows of models."""
