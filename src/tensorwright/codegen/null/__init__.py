"""The null device: NumPy code as text."""
