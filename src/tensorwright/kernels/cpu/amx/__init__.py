"""Products in the tile registers of AMX: matrix products and convolutions of bfloat16 and of bytes."""
