"""What the kernels of concatenations are made of."""
