"""TODO: converters/keras."""
