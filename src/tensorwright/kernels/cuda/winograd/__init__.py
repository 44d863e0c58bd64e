"""Winograd's F(2×2, 3×3) in float32 on tensor cores: 16 products of matrices take the place of 36.

A block has some tiles of 2×2 outputs and some columns. In each step every warp brings 8 tiles by 8 channels of the
input to the 16 points, into shared memory, in the order of the instruction's fragments; then it multiplies all tiles of
the block at two points of its own by weights that were transformed at build time and go from memory into registers.
Each factor is the sum of two TF32 numbers. Behind the last step the products at all points of a tile meet in shared
memory and are brought back to outputs.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2016; Yan, Wang and Chu, Optimizing Batched Winograd
Convolution on GPUs, 2020.
"""
