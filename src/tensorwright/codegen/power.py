"""Powers of floats."""

from __future__ import annotations

from tensorwright.base.errors import BuildError
from tensorwright.codegen.term import Term


def power(base: Term, exponent: Term) -> Term:
    raise BuildError("powers of floats cannot be emitted yet")
