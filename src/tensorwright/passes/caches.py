"""Products that read the rows of a cache where they are."""

from __future__ import annotations

from tensorwright.graph.graph import Value, apply
from tensorwright.ops.cache import CachedMatMul, CacheUpdate
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.shape import Slice
from tensorwright.passes.rewrite import joined_name, rewrite, rules_pass


@rewrite(MatMul)
def read_from_the_cache(value: Value) -> Value | None:
    """``a · Slice(cache) = CachedMatMul(a, cache)`` where the slice is the first rows of a cache with others behind."""
    a, part = value.inputs
    op = value.op
    assert isinstance(op, MatMul)
    if not isinstance(part.op, Slice) or op.transpose_a or a.type.rank != part.type.rank or a.type.rank < 2:
        return None
    (cache,) = part.inputs
    extents = (*cache.type.shape[:-2], part.type.shape[-2], cache.type.shape[-1])
    is_first = all(start == 0 for start in part.op.starts) and all(step == 1 for step in part.op.steps)
    if not isinstance(cache.op, CacheUpdate) or not is_first or part.type.shape != extents:
        return None
    if a.type.shape[:-2] != cache.type.shape[:-2]:
        return None
    product = CachedMatMul(part.type.shape[-2], op.transpose_b)
    return apply(product, a, cache, name=joined_name(part, value))


RULES = (read_from_the_cache,)
read_caches = rules_pass("read_caches", RULES)
