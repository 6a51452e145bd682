"""Arguments of every wrong kind, and every public call that they are given to."""
