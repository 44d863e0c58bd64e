"""The problem of attention in plain terms."""
