"""Everything in a network that cannot be imported, as one error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tensorwright.base.errors import ImportFailure

SHOWN_NAMES = 3


@dataclass(frozen=True)
class Finding:
    """One layer that cannot be imported. `reason` is empty where the type itself is not known."""

    type: str
    layer: str
    reason: str = ""


class UnsupportedLayers(ImportFailure):
    """Everything in a network that is not supported; `findings` has one entry per layer."""

    def __init__(self, message: str, findings: Iterable[Finding]) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


def unsupported(findings: Iterable[Finding], source: str) -> UnsupportedLayers:
    """All findings as one error: a table with one row per type and reason."""
    findings, rows = tuple(findings), dict[tuple[str, str], list[str]]()
    for finding in findings:
        rows.setdefault((finding.type, finding.reason), []).append(finding.layer)
    table = [("type", "count", "layers", "reason")]
    table += [
        (type, str(len(layers)), names(layers), reason or "no such layer type is supported")
        for (type, reason), layers in sorted(rows.items())
    ]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    count = len(findings)
    return UnsupportedLayers(
        f"{source}: {count} layer{'s are' if count > 1 else ' is'} not supported:\n  "
        + "\n  ".join(lines)
        + "\nReplace these layers in the definition, give plugins for them, or cut the network before them.",
        findings,
    )


def names(layers: list[str]) -> str:
    """The first few names."""
    shown = ", ".join(f"'{name}'" for name in layers[:SHOWN_NAMES])
    return shown + (", ..." if len(layers) > SHOWN_NAMES else "")
