"""Depthwise convolutions: a thread computes some neighbouring pixels of as many channels as 16 bytes hold.

Channels lie innermost, in blocks of 32 or, between transpositions that the kernel makes unnecessary, all of them.
"""
