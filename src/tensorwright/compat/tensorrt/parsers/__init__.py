"""The parsers of the older interface."""

from tensorwright.compat.tensorrt.parsers import caffeparser, onnxparser, uffparser

__all__ = ["caffeparser", "onnxparser", "uffparser"]
