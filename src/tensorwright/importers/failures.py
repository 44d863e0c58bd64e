"""What goes wrong while a model is read, and the one report of everything that is not supported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tensorwright.base.errors import ImportFailure

SHOWN_NAMES = 3


class Unsupported(Exception):
    """A node is legal, but cannot be expressed; collected, to be reported together with the others."""


@dataclass(frozen=True)
class Finding:
    """One node that cannot be imported. `reason` is empty where the operator itself is not known."""

    operator: str
    node: str
    reason: str = ""


class UnsupportedNodes(ImportFailure):
    """Everything in a model that is not supported; `findings` has one entry per node."""

    def __init__(self, message: str, findings: Iterable[Finding]) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


class LocatedFailure(ImportFailure):
    """A failure whose message already names the file and the node."""


def failure(findings: Iterable[Finding], source: str, advice: str) -> UnsupportedNodes:
    """All findings as one error: a table with one row per operator and reason.

    Args:
        findings: what was found.
        source: the file, as messages call it.
        advice: what to do.
    """
    findings, groups = tuple(findings), dict[tuple[str, str], list[str]]()
    for finding in findings:
        groups.setdefault((finding.operator, finding.reason), []).append(finding.node)
    rows = [
        (operator, str(len(nodes)), first_names(nodes), reason or "no such operator is supported")
        for (operator, reason), nodes in sorted(groups.items())
    ]
    head = ("operator", "count", "nodes", "reason")
    return UnsupportedNodes(report(source, "node", len(findings), (head, *rows), advice), findings)


def report(source: str, what: str, count: int, table: Sequence[Sequence[str]], advice: str) -> str:
    """The text of the error that lists all that is not supported.

    Args:
        source: the file, as messages call it.
        what: what is counted, "node" or "layer".
        count: how many of them there are.
        table: the heads of the columns, then the rows.
        advice: what to do.
    """
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    head = f"{source}: {count} {what}{'s are' if count > 1 else ' is'} not supported:"
    return "\n  ".join([head, *lines]) + f"\n{advice}"


def first_names(names: Sequence[str]) -> str:
    """The first few names, quoted."""
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN_NAMES])
    return shown + (", ..." if len(names) > SHOWN_NAMES else "")
