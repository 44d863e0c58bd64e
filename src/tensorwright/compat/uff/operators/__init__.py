"""One function for each TensorFlow operator that UFF can say, named like it."""
