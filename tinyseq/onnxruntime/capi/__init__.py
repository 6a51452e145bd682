"""Where onnxruntime keeps its exceptions."""
