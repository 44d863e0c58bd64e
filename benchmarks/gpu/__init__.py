"""Measures the kernels for GPUs, alone and in whole networks, before `tw.build` knows of them."""
