"""`pycuda` on the CPU: memory, streams, events and copies. There are no kernels of one's own."""
