"""What the matrix product kernels are made of: the problem, register tiles, and the cutting of rows and columns."""
