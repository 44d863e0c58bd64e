"""LLVM IR for NVIDIA GPUs: targets, special registers, matrix instructions; PTX and machine code."""
