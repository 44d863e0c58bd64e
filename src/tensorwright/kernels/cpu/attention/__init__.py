"""Attention: products, softmax and products of a block of rows whose scores stay in the caches."""
