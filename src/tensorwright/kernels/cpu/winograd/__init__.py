"""Winograd's algorithms for convolution: transforms, products, packed weights."""
