"""Writes every stage of a build as text into a folder, so that people can look at it.

00-imported.txt
01-after-fold_constants.txt     after every run of a pass that changed the graph
…
07-regions.txt, 08-joined-regions.txt, 09-choices.txt, 10-program.txt
rewrites.txt                    one line for every rewrite, in order
kernels/k….ll and k….s          LLVM IR and assembly of every kernel of the program, on request
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tensorwright.backends.backend import Toolchain
from tensorwright.base.errors import BuildError
from tensorwright.base.text import printable
from tensorwright.graph.graph import Graph
from tensorwright.graph.region import Region
from tensorwright.graph.text import graph_text, names_of, quoted, region_text, regions_text
from tensorwright.passes.change import Change, Rewritten
from tensorwright.schedule.program import Program
from tensorwright.schedule.text import program_text
from tensorwright.tune.choice import Choice
from tensorwright.tune.text import choices_text

REWRITES = "rewrites.txt"
KERNELS = "kernels"
_OURS = re.compile(rf"\d\d+-[\w-]+\.txt|{re.escape(REWRITES)}|{KERNELS}")
_OUR_KERNEL = re.compile(r"k[0-9a-f]+\.\w+")


@dataclass
class Dump:
    """The folder that the stages of one build go to; None writes nothing. count: the stages written so far."""

    folder: Path | None
    with_code: bool = False
    count: int = 0

    def imported(self, graph: Graph) -> None:
        """The graph as it was read."""
        self._stage("imported", lambda: graph_text(graph))

    def changed(self, change: Change) -> None:
        """A pass has run."""
        if self.folder is None:
            return
        self._stage(f"after-{change.step.name}", lambda: _change_text(change))
        with (self.folder / REWRITES).open("a", encoding="utf-8") as file:
            file.writelines(f"{_rewritten_text(change, rewrite)}\n" for rewrite in change.rewrites)

    def regions(self, graph: Graph, regions: Sequence[Region], joined: Sequence[Region]) -> None:
        """What kernels are looked for: regions, and chains of regions that one kernel may take over."""
        self._stage("regions", lambda: regions_text(graph, regions))
        if joined:
            self._stage("joined-regions", lambda: _joined_text(graph, joined))

    def chosen(self, choices: Sequence[Choice]) -> None:
        """What was chosen for every region, and from what."""
        self._stage("choices", lambda: choices_text(choices))

    def scheduled(self, program: Program, tools: Toolchain) -> None:
        """The program, and the code of its kernels if that was asked for."""
        self._stage("program", lambda: program_text(program, tools.threads))
        if self.folder is None or not self.with_code:
            return
        folder = self.folder / KERNELS
        folder.mkdir(exist_ok=True)
        for name, code in {step.kernel.name: step.kernel.code for step in program.steps}.items():
            for ending, text in tools.listings(code).items():
                _write(folder / f"{name}.{ending}", text)

    def _stage(self, name: str, text: Callable[[], str]) -> None:
        if self.folder is None:
            return
        _write(self.folder / f"{self.count:02}-{name}.txt", text())
        self.count += 1


def dump_into(folder: Path | None, with_code: bool) -> Dump:
    """A dump into a folder, which is made if it is not there; an earlier dump in it is deleted.

    Raises:
        BuildError: the folder holds other files, or code is wanted without a folder.
        OSError: it cannot be written to.
    """
    if folder is None:
        if with_code:
            raise BuildError("dump_code: expected a folder to write the code to; give it in dump")
        return Dump(None)
    folder.mkdir(parents=True, exist_ok=True)
    kernels = folder / KERNELS
    files = [*folder.iterdir(), *(kernels.iterdir() if kernels.is_dir() else ())]
    foreign = [path.name for path in files if not _is_ours(path, folder)]
    if foreign:
        raise BuildError(
            f"dump: expected a new or empty folder, or one with an earlier dump; found '{printable(min(foreign))}' in "
            f"{folder}; give another folder"
        )
    for path in files:
        if path.is_file():
            path.unlink()
    return Dump(folder, with_code)


def dump_within(folder: str | os.PathLike[str] | None, name: str) -> Path | None:
    """The folder for one of several builds that a user gave one folder for; None without."""
    return None if folder is None else Path(folder) / name


def _is_ours(path: Path, folder: Path) -> bool:
    if path.parent != folder:
        return path.is_file() and bool(_OUR_KERNEL.fullmatch(path.name))
    return bool(_OURS.fullmatch(path.name)) and path.is_dir() == (path.name == KERNELS)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _change_text(change: Change) -> str:
    first, last = change.rewrites[0].number, change.rewrites[-1].number
    return f"; after {change.step.name}, round {change.round}, rewrites {first} to {last}\n{graph_text(change.after)}"


def _rewritten_text(change: Change, rewrite: Rewritten) -> str:
    before, after = (f"%{quoted(value.name)} = {value.op.name}" for value in (rewrite.before, rewrite.after))
    kind = printable(repr(rewrite.after.type))
    return f"{rewrite.number} {change.step.name}:{change.round} {rewrite.rule}: {before} -> {after}, {kind}"


def _joined_text(graph: Graph, joined: Sequence[Region]) -> str:
    names = names_of(graph.order())
    return "\n".join(region_text(f"joined region {number}", region, names) for number, region in enumerate(joined))
