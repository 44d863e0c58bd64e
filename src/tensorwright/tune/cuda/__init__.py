"""Running and timing kernels on a GPU."""
