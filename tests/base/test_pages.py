"""Pages of memory that grow."""

from __future__ import annotations

import mmap

import pytest

from tensorwright.base import pages
from tensorwright.base.pages import grown, map_pages


@pytest.mark.parametrize("system", ["linux", "darwin"])
def test_what_was_there_stays_and_the_rest_is_zero(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages.sys, "platform", system)
    memory = map_pages(mmap.PAGESIZE)
    memory[:] = b"\x07" * mmap.PAGESIZE
    memory = grown(memory, 100 * mmap.PAGESIZE)
    assert memory[:] == b"\x07" * mmap.PAGESIZE + bytes(99 * mmap.PAGESIZE)
