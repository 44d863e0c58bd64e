"""The timing cache survives whatever its file holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tensorwright.tune.cache import TimingCache, parse, serialize


def test_entries_come_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "timings.json"
    cache = TimingCache(path)
    cache.put("a", 1.5e-6)
    cache.save()
    assert TimingCache(path).get("a") == 1.5e-6
    assert TimingCache(path).get("b") is None
    assert [entry.name for entry in path.parent.iterdir()] == ["timings.json"]


def test_saving_keeps_what_others_wrote(tmp_path: Path) -> None:
    path = tmp_path / "timings.json"
    first, second = TimingCache(path), TimingCache(path)
    first.put("a", 1.0)
    second.put("b", 2.0)
    first.save()
    second.save()
    assert TimingCache(path).entries == {"a": 1.0, "b": 2.0}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": "other", "seconds": {}}', '{"format": 1}', "[" * 100_000, '"x"']
)
def test_damaged_files_are_ignored_with_a_warning(text: str, tmp_path: Path) -> None:
    path = tmp_path / "timings.json"
    path.write_text(text)
    with pytest.warns(UserWarning, match="is not readable and is ignored"):
        cache = TimingCache(path)
    assert cache.entries == {}


def test_entries_that_are_no_times_are_dropped() -> None:
    assert parse(serialize({"good": 1.0}).replace("1.0", '1.0, "bad": NaN'), "text") == {"good": 1.0}


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache = TimingCache(None)
    cache.put("a", 1.0)
    cache.save()
    assert not list(tmp_path.iterdir())
