"""A generator of random networks, and what judges how the project computes them."""
