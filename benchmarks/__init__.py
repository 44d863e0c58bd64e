"""Comparisons with other engines on real architectures; see `benchmarks.compare`."""
