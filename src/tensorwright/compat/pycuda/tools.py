"""`pycuda.tools`: contexts."""

from __future__ import annotations

from tensorwright.compat.pycuda.driver import Context


def make_default_context() -> Context:
    """The context."""
    return Context()


def clear_context_caches() -> None:
    """Nothing: there are no caches."""
