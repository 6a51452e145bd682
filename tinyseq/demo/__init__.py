"""The demonstration: a voice detector over a clip."""
