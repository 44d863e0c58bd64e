"""`import pycuda.autoinit`: the device and its context."""

from tensorwright.compat.pycuda.driver import Context, Device

device = Device(0)
context: Context = device.make_context()
