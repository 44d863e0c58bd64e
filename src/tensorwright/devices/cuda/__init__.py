"""NVIDIA GPUs, through the driver's library alone. Importing this package loads nothing of it."""
