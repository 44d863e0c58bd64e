"""One function for each TensorFlow operator, named like it; its attributes are the keyword parameters."""
