"""A device that computes nothing: the smallest complete example of one, and the cost of everything but the kernels."""

from tensorwright.devices.null.device import NullDevice

__all__ = ["NullDevice"]
