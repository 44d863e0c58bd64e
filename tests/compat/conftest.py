"""What the tests of the compatible modules share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def timings(monkeypatch, tmp_path_factory):
    """One timing cache for all tests of this folder, in nobody's home."""
    folder = tmp_path_factory.getbasetemp().parent / "compat"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder
