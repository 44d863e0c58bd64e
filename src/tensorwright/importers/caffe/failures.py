"""Everything in a network that cannot be imported, as one error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tensorwright.base.errors import ImportFailure
from tensorwright.importers.failures import first_names, report

ADVICE = "Replace these layers in the definition, give plugins for them, or cut the network before them."


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
    findings, groups = tuple(findings), dict[tuple[str, str], list[str]]()
    for finding in findings:
        groups.setdefault((finding.type, finding.reason), []).append(finding.layer)
    rows = [
        (type, str(len(layers)), first_names(layers), reason or "no such layer type is supported")
        for (type, reason), layers in sorted(groups.items())
    ]
    head = ("type", "count", "layers", "reason")
    return UnsupportedLayers(report(source, "layer", len(findings), (head, *rows), ADVICE), findings)
