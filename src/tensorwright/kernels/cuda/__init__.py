"""The catalogue of tactics for NVIDIA GPUs."""
