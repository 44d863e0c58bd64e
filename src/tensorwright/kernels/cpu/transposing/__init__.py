"""What the transposing kernels are made of."""
