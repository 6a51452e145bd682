"""The public name of tinyseq in onnxruntime's place; see ``tinyseq.dropin.onnxruntime``."""

from tinyseq.dropin.onnxruntime import *  # noqa: F403
from tinyseq.dropin.onnxruntime import __all__ as __all__
from tinyseq.dropin.onnxruntime import __getattr__ as __getattr__
