"""Whether a film review is favourable, by a bidirectional GRU; and word by word, how the mind changes."""
