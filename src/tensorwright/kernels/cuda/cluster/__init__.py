"""Runs of small regions in one kernel, by the blocks of one cluster.

What a small network computes between two kernels takes less than the step from one to the next. So all blocks of a
cluster do one stage after the other, and wait for each other in between. Products have the kernel of
`kernels.cuda.fragments`, everything else a thread or a warp for each element; results pass through workspace, in the
layouts that the products want. Blocks take the places of a stage's grid in turn. A product loads its weights while its
block still waits for the others.
"""
