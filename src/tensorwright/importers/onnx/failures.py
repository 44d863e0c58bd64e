"""What goes wrong while a model is read, and the one report of everything that is not supported."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.failures import Unsupported

SHOWN_NAMES = 3


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
    findings, rows = tuple(findings), dict[tuple[str, str, int, str], list[str]]()
    for finding in findings:
        key = (finding.operator, finding.domain or "ai.onnx", finding.version, finding.reason)
        rows.setdefault(key, []).append(finding.node)
    table = [("operator", "domain", "opset", "count", "nodes", "reason")]
    table += [
        (operator, domain, str(version), str(len(nodes)), _names(nodes), reason or "no such operator is supported")
        for (operator, domain, version, reason), nodes in sorted(rows.items())
    ]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    count = sum(len(nodes) for nodes in rows.values())
    return UnsupportedNodes(
        f"{source}: {count} node{'s are' if count > 1 else ' is'} not supported:\n  "
        + "\n  ".join(lines)
        + "\nExport the model without these operators (fixed shapes and a simplifier often remove them), "
        "replace them in the model, or cut the graph before them.",
        findings,
    )


def _names(nodes: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in nodes[:SHOWN_NAMES])
    return shown + (", ..." if len(nodes) > SHOWN_NAMES else "")


__all__ = ["Finding", "Unsupported", "UnsupportedNodes", "failure"]
