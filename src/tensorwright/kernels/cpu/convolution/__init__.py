"""Direct convolution: register tiles over pixels and outputs, packed weights, chains of convolutions."""
