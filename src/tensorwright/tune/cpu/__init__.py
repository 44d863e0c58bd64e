"""Running and timing kernels on the CPU, and what the CPU can do at best."""
