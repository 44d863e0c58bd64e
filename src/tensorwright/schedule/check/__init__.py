"""Proves that a program computes what its graph says on any number of threads, sharing nothing with what planned it."""
