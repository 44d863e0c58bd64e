"""What goes wrong while a model is read, and the one report of everything that is not supported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from tensorwright.base.errors import ImportFailure
from tensorwright.graph.graph import Value

SHOWN_NAMES = 3


class Unsupported(Exception):
    """A node is legal, but cannot be expressed; collected, to be reported together with the others.

    needs: values that would have to be constants for the node to be expressed; none if that would not help.
    """

    def __init__(self, reason: str, needs: Sequence[Value] = ()) -> None:
        super().__init__(reason)
        self.needs = tuple(needs)


@dataclass(frozen=True)
class Words:
    """What a format calls its things. item: what is counted; operator: what it does; kind: that, in a sentence."""

    item: str = "node"
    operator: str = "operator"
    kind: str = "operator"


NODES = Words()
LAYERS = Words("layer", "type", "layer type")


@dataclass(frozen=True, order=True)
class Finding:
    """One node or layer that cannot be imported. `reason` is empty where the operator itself is not known.

    details: what else tells operators of one name apart, such as their version, each with its heading.
    needs: see `Unsupported`.
    """

    operator: str
    node: str
    reason: str = ""
    details: tuple[tuple[str, str], ...] = ()
    needs: tuple[Value, ...] = field(default=(), compare=False)

    def explain(self, words: Words) -> str:
        """Why it cannot be imported."""
        return self.reason or f"no such {words.kind} is supported"


class UnsupportedModel(ImportFailure):
    """The model is legal, but no plan can express it as a whole.

    cause: what is in the way; advice: what to do about it.
    """

    def __init__(self, cause: str, advice: str = "") -> None:
        super().__init__(f"{cause}\n{advice}" if advice else cause)
        self.cause = cause


class UnsupportedNodes(UnsupportedModel):
    """Everything in a model that is not supported; `findings` has one entry per node."""

    def __init__(self, cause: str, advice: str, findings: Iterable[Finding], words: Words = NODES) -> None:
        super().__init__(cause, advice)
        self.findings = tuple(findings)
        self.words = words


class LocatedFailure(ImportFailure):
    """A failure whose message already names the file and the node."""


def failure(findings: Iterable[Finding], source: str, advice: str, words: Words = NODES) -> UnsupportedNodes:
    """All findings as one error: a table with one row per operator and reason.

    Args:
        findings: what was found; all have details under the same headings.
        source: the file, as messages call it.
        advice: what to do.
        words: what the format calls its things.
    """
    findings, groups = tuple(findings), dict[Finding, list[str]]()
    for finding in findings:
        groups.setdefault(replace(finding, node=""), []).append(finding.node)
    rows = [
        (key.operator, *(text for _, text in key.details), str(len(nodes)), first_names(nodes), key.explain(words))
        for key, nodes in sorted(groups.items())
    ]
    headings = [heading for heading, _ in findings[0].details]
    table = ((words.operator, *headings, "count", f"{words.item}s", "reason"), *rows)
    return UnsupportedNodes(_report(source, words.item, len(findings), table), advice, findings, words)


def _report(source: str, item: str, count: int, table: Sequence[Sequence[str]]) -> str:
    """The text of the error. table: the headings of the columns, then the rows."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    head = f"{source}: {count} {item}{'s are' if count > 1 else ' is'} not supported:"
    return "\n  ".join([head, *lines])


def first_names(names: Sequence[str]) -> str:
    """The first few names, quoted."""
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN_NAMES])
    return shown + (", ..." if len(names) > SHOWN_NAMES else "")
