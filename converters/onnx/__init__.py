"""TODO: converters/onnx."""
