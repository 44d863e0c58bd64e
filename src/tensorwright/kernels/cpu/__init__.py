"""Tuned kernels for CPUs, one file per family; each lists its tactics in `TACTICS`."""
