"""What goes through the positions of a tensor of channels in tiles: convolution, pooling and concatenation."""
