"""What is so little work that one cluster may compute it."""

from __future__ import annotations

from tensorwright.graph.region import Region
from tensorwright.kernels.work import work
from tensorwright.tensor.dim import upper_bound

SMALL_FLOPS, SMALL_BYTES = 8e6, 4 << 20
"""What a cluster computes, or reads, in about the time that a kernel takes to start."""


def is_small(region: Region) -> bool:
    """Whether a region is so little work, of any size, that a cluster may compute it together with its neighbours."""
    needed = work(region)
    return upper_bound(needed.flops) <= SMALL_FLOPS and upper_bound(needed.bytes) <= SMALL_BYTES
