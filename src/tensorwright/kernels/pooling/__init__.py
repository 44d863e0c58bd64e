"""What the pooling kernels are made of."""
