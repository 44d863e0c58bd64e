"""A machine that executes PTX on the CPU, all threads of a grid as lanes of NumPy arrays, so that tests need no GPU.

It knows the instructions that LLVM writes for the kernels of this package, checks every access to memory, and notices
two threads that touch the same memory without a barrier between them. Copies to shared memory land when their thread
waits for them, products of warpgroups are there when somebody waits; what is touched before that, or changes under
them, is noticed, too. Whether barriers in shared memory order what warps and the copy engine do, vector clocks say. It
says nothing of speed.
"""
