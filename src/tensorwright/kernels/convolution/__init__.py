"""What the convolution tactics share: the problem in plain numbers, its tiles, packed weights, code for one tile."""
