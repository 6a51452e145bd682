"""ONNX: models from its files, of any opset that the op table has a way from."""

from tinyseq.converters.onnx.importer import OLDEST_OPSET, load

__all__ = ["OLDEST_OPSET", "load"]
