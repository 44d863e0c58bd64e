"""The graph: operators applied to values, the mathematics they state, and regions of it that become kernels."""
