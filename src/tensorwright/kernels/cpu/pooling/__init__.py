"""Pooling over tiles of positions."""
