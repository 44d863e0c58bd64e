"""The problem of a matrix product in plain terms."""
