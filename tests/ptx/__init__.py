"""A machine that executes PTX on the CPU, all threads of a grid as lanes of NumPy arrays, so that tests need no GPU.

It knows the instructions that LLVM writes for the kernels of this package, checks every access to memory, and notices
two threads that touch the same memory without a barrier between them. It says nothing of speed.
"""
