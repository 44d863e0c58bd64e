"""`pycuda` on the CPU or a GPU: memory, streams, events and copies. There are no kernels of one's own."""
