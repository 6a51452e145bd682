"""What decoders of frames share: scores that arrive in pieces, rows of state, snapshots, prefix search."""
