"""Products by weights of a few bits in blocks with scales."""
