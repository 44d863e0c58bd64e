"""What goes wrong while a model is read, and the one report of everything that is not supported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.failures import Unsupported, first_names, report

ADVICE = (
    "Export the model without these operators (fixed shapes and a simplifier often remove them), replace them in the "
    "model, or cut the graph before them."
)


@dataclass(frozen=True)
class Finding:
    """One node that cannot be imported. `reason` is empty where the operator itself is not known."""

    operator: str
    domain: str
    version: int
    node: str
    reason: str = ""


class UnsupportedNodes(ImportFailure):
    """Everything in a model that is not supported; `findings` has one entry per node."""

    def __init__(self, message: str, findings: Iterable[Finding]) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


def failure(findings: Iterable[Finding], source: str) -> UnsupportedNodes:
    """All findings as one error: a table with one row per operator, opset and reason."""
    findings, groups = tuple(findings), dict[tuple[str, str, int, str], list[str]]()
    for finding in findings:
        key = (finding.operator, finding.domain or "ai.onnx", finding.version, finding.reason)
        groups.setdefault(key, []).append(finding.node)
    rows = [
        (operator, domain, str(version), str(len(nodes)), first_names(nodes), reason or "no such operator is supported")
        for (operator, domain, version, reason), nodes in sorted(groups.items())
    ]
    head = ("operator", "domain", "opset", "count", "nodes", "reason")
    return UnsupportedNodes(report(source, "node", len(findings), (head, *rows), ADVICE), findings)


__all__ = ["Finding", "Unsupported", "UnsupportedNodes", "failure"]
