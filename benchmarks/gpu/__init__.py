"""Measures plans for GPUs, and PyTorch on the same networks."""
