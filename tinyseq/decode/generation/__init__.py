"""Sequences generated token by token: greedy search, sampling and beam search over a decoder model."""
