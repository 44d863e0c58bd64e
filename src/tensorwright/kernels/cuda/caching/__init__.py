"""New rows in a cache, on a GPU."""
