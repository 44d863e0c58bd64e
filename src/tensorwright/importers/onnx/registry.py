"""Finds the function that handles an operator: every function of this folder that is named like one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import cast

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.onnx.node import Node, Term
from tensorwright.importers.registry import Signature, functions_in, signature_of

PACKAGE = "tensorwright.importers.onnx"
STANDARD = ""

Results = Term | list[Term]


@dataclass(frozen=True)
class Handler:
    """A function ``Operator(node, *inputs, **attributes)`` that gives the output, or a list of all outputs."""

    function: Callable[..., Results]
    signature: Signature

    def __call__(self, node: Node, inputs: Sequence[Term], attributes: Mapping[str, object]) -> list[Term]:
        """The outputs. Inputs at the end that are left out count as absent.

        Raises:
            ImportFailure: the node has too few or too many inputs, or an attribute is missing or of the wrong kind.
            Unsupported: an attribute, or a use of the operator, is not supported.
        """
        given = list(inputs)
        while len(given) > self.signature.fewest and given[-1] is None:
            given.pop()
        self.signature.check_inputs(len(given))
        for number, value in enumerate(given[: self.signature.fewest]):
            if value is None:
                raise ImportFailure(f"input {number} is required, but empty")
        unknown = sorted(set(attributes) - set(self.signature.kinds))
        if unknown:
            raise Unsupported(f"attribute {', '.join(unknown)} is not supported")
        self.signature.check_attributes(attributes)
        results = self.function(node, *given, **attributes)
        return results if isinstance(results, list) else [results]


def handler_of(domain: str, operator: str) -> Handler | None:
    """The handler of an operator; None where there is none."""
    return handlers().get((domain, operator))


@cache
def handlers() -> Mapping[tuple[str, str], Handler]:
    """All handlers by domain and operator. A module for another domain names it in its constant DOMAIN."""
    found: dict[tuple[str, str], Handler] = {}
    for module, name, function in functions_in(PACKAGE):
        domain = getattr(module, "DOMAIN", STANDARD)
        found[domain, name] = Handler(cast("Callable[..., Results]", function), signature_of(function))
    return MappingProxyType(found)
