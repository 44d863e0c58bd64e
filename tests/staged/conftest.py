"""Small networks are compiled in this process: starting others takes longer."""

from __future__ import annotations

import pytest

from tensorwright.codegen import pool


@pytest.fixture(autouse=True)
def _compiled_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "IN_PROCESS", 1 << 20)
