"""Products and convolutions on tensor cores, with operands that go from memory straight into the registers.

The transposed product is computed: the constant operand is the instruction's left one, packed as its fragments are;
rows of the other one are its columns. A thread reads 8 neighbouring elements of a row at once, which are the fragments
of two instructions: which element of the depth meets as which does not matter, as long as it is the same for both. The
columns of a group of 32 are dealt to two tiles so that a thread ends with 4 neighbouring columns of a row. So row-major
matrices and channels in blocks of 32 are read and written as they lie, without shared memory; warps that share outputs
split the depth, and only their sums meet.
"""
