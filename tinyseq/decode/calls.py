"""Native calls of searches."""

CALL_SECONDS = 0.2
"""How long one may take: a signal, as of Ctrl-C, waits for its end."""
