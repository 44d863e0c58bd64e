"""Reads models whose tensors fit only for some extents of their inputs: these become the inputs' dimensions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tensorwright.base.errors import ImportFailure
from tensorwright.tensor.dim import Dim, Symbol, linear_part
from tensorwright.tensor.equations import Restriction, Unequal, composed, solution

T = TypeVar("T")
MOST_ROUNDS = 32


@dataclass(frozen=True)
class Agreement:
    """What symbols of the inputs are replaced by, and why, for the user."""

    restriction: Restriction
    reasons: tuple[str, ...] = ()


NONE = Agreement({})


def until_agreed(read: Callable[[Agreement], T]) -> T:
    """What `read` gives, called with more and more restricted symbols until all tensors fit.

    Raises:
        ImportFailure: `read` fails for another reason, or no restriction was found.
    """
    agreement = NONE
    while True:
        try:
            return read(agreement)
        except ImportFailure as error:
            unequal = _cause(error)
            found = None if unequal is None else solution(unequal.left, unequal.right)
            if not found or len(agreement.reasons) >= MOST_ROUNDS:
                raise
            reason = f"{', '.join(_said(symbol, dim) for symbol, dim in found.items())}: {unequal}"
            agreement = Agreement(composed(agreement.restriction, found), (*agreement.reasons, reason))


def _cause(error: BaseException | None) -> Unequal | None:
    while error is not None and not isinstance(error, Unequal):
        error = error.__cause__
    return error


def _said(symbol: Symbol, dim: Dim) -> str:
    """What becomes of a symbol, in words."""
    what, linear = f"dimension '{symbol.name}' has to be ", linear_part(dim)
    if linear is None or (linear[1:] == (1, 0) and linear[0].name != symbol.name):
        return what + str(dim)
    if linear[0].name == symbol.name:
        return f"{what}from {linear[0].min} to {linear[0].max}"
    if linear[1] == 1:
        return what + str(dim)
    return f"{what}a multiple of {linear[1]}" + (f" and {linear[2]}" if linear[2] else "")
