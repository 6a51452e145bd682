"""The runtime: loaded models, their streams and pools, and the state of these."""
