"""Decoding: searches over rows of scores, and what makes rows of models."""
