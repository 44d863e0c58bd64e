"""Kernels whose output is finished row by row: the epilogue by row and column, normalisations of rows."""
