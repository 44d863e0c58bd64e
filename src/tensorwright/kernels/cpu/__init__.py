"""Kernels for CPUs, one folder per family; modules that have tactics list them in `TACTICS`."""
