"""The catalogue of kernels: every way to compute a region, one file per family."""
