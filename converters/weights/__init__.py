"""TODO: converters/weights."""
