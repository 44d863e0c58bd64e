"""Pages of memory that grow."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from tensorwright.base import pages
from tensorwright.base.addresses import buffer_address
from tensorwright.base.pages import HUGE_PAGE, ask_for_huge_pages, grown, map_pages


@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_what_was_there_stays_and_the_rest_is_zero(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages.sys, "platform", system)
    memory = map_pages(mmap.PAGESIZE)
    memory[:] = b"\x07" * mmap.PAGESIZE
    memory = grown(memory, 100 * mmap.PAGESIZE)
    assert memory[:] == b"\x07" * mmap.PAGESIZE + bytes(99 * mmap.PAGESIZE)


def has_asked_for_huge_pages(memory: mmap.mmap) -> bool:
    """Whether the system says so of the mapping that the memory lies in."""
    address, inside = buffer_address(memoryview(memory)), False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        name, *_ = line.split()
        if "-" in name:
            first, last = (int(part, 16) for part in name.split("-"))
            inside = first <= address < last
        elif inside and name == "VmFlags:":
            return "hg" in line.split()
    return False


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="the system has no huge pages")
def test_large_memory_asks_for_huge_pages(tmp_path: Path) -> None:
    assert has_asked_for_huge_pages(map_pages(3 * HUGE_PAGE))
    assert not has_asked_for_huge_pages(map_pages(mmap.PAGESIZE))
    memory = grown(map_pages(mmap.PAGESIZE), 2 * HUGE_PAGE + 1)
    assert len(memory) == 3 * HUGE_PAGE
    assert has_asked_for_huge_pages(memory)
    path = tmp_path / "file"
    path.write_bytes(bytes(HUGE_PAGE))
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    ask_for_huge_pages(mapped)
    assert has_asked_for_huge_pages(mapped)
