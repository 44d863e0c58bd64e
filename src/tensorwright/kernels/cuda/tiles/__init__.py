"""Products and convolutions whose operands meet in shared memory: for many rows.

A block computes some rows by some columns. Steps of 128 bytes of the depth are copied into shared memory some steps
ahead of the products: rows of the left operand as they lie, whatever convolution they belong to, 16 bytes at a time,
each thread with the addresses of a few rows; the right one as it was packed. From there every arithmetic reads them:
`wgmma` on sm_90, `mma` on other GPUs, multiply-adds for float32. The columns of the packed operand are ordered so that
a thread ends with 8 neighbouring columns of a row, in all arithmetics: it finishes and writes those in one access.
"""
