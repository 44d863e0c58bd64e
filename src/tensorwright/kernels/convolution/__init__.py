"""The problem of a convolution in plain numbers."""
