"""Softmax and layer normalisation along the last axis: a row is read once, 16 bytes a thread, and kept in registers."""
