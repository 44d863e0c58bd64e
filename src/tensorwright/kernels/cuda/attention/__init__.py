"""Attention on tensor cores: scores and their powers stay in registers.

A block computes 16 rows of one batch; its warps share out the columns in pieces, and what they found is put
together at the end, each sum scaled to the largest score of all (Milakov and Gimelshein, "Online normalizer calculation
for softmax", 2018; Dao et al., "FlashAttention", 2022). Products of the scores have the layout that the second product
wants of its left operand. Its right one is transposed in registers if its elements have two bytes; in float32 a thread
reads the two rows that belong to the two neighbouring scores it has.
"""
