"""Running kernels of the null device, on a clock that is not real."""
