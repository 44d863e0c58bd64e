"""The timing cache survives whatever its file holds, and whatever is in its place."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tensorwright.tune import cache as cache_module
from tensorwright.tune.cache import TimingCache as Cache
from tensorwright.tune.cache import default_path, parse, serialize

WRITER = """
import sys
from pathlib import Path
from tensorwright.tune.cache import TimingCache
for number in range(20):
    cache = TimingCache(Path(sys.argv[1]), print)
    cache.put(f"{sys.argv[2]} {number}", 1.0)
    assert cache.save()
"""


def refuse(message: str) -> None:
    raise AssertionError(message)


def TimingCache(path: Path | None, warn: Callable[[str], None] = refuse) -> Cache:  # noqa: N802
    return Cache(path, warn)


def shown(folder: Path) -> list[str]:
    """Its files but the lock's."""
    return sorted(entry.name for entry in folder.iterdir() if not entry.name.endswith(".lock"))


def test_entries_come_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "timings.json"
    cache = TimingCache(path)
    cache.put("a", 1.5e-6)
    cache.save()
    assert TimingCache(path).get("a") == 1.5e-6
    assert TimingCache(path).get("b") is None
    assert shown(path.parent) == ["timings.json"]


def test_saving_keeps_what_others_wrote(tmp_path: Path) -> None:
    path = tmp_path / "timings.json"
    first, second = TimingCache(path), TimingCache(path)
    first.put("a", 1.0)
    second.put("b", 2.0)
    first.save()
    second.save()
    assert TimingCache(path).entries == {"a": 1.0, "b": 2.0}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"format": "other", "seconds": {}}',
        '{"format": 1}',
        "[" * 100_000,
        '"x"',
        serialize({"big": 1.0}).replace("1.0", "1" + "0" * 400),
    ],
)
def test_damaged_files_are_ignored_with_a_warning(text: str, tmp_path: Path) -> None:
    path = tmp_path / "timings.json"
    path.write_text(text)
    said: list[str] = []
    cache = TimingCache(path, said.append)
    assert cache.entries == {}
    cache.put("a", 1.0)
    assert cache.save()
    assert TimingCache(path).entries == {"a": 1.0}
    (message,) = said
    assert "is not readable and is ignored" in message


def test_entries_that_are_no_times_are_dropped() -> None:
    assert parse(serialize({"good": 1.0}).replace("1.0", '1.0, "bad": NaN')) == {"good": 1.0}


def test_without_a_path_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cache = TimingCache(None)
    cache.put("a", 1.0)
    cache.save()
    assert not list(tmp_path.iterdir())


def test_processes_that_write_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "timings.json"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, path, name]) for name in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(TimingCache(path).entries) == 40
    assert shown(tmp_path) == ["timings.json"]


def test_nothing_new_is_not_written(tmp_path: Path) -> None:
    assert not TimingCache(tmp_path / "timings.json").save()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["pipe", "folder", "file/timings.json", "full", "unmakeable/timings.json", "a\0b"])
def test_whatever_is_in_the_way_costs_one_warning(place: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "full").symlink_to("/dev/full")
    (tmp_path / "unmakeable").symlink_to("/proc/self/there is no such folder")
    before, said = shown(tmp_path), list[str]()
    cache = TimingCache(tmp_path / place, said.append)
    cache.put("a", 1.0)
    assert not cache.save()
    assert not cache.save()
    assert cache.get("a") == 1.0
    assert len(said) == 1
    assert shown(tmp_path) == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("call", ["fsync", "open", "mkdir"])
def test_a_full_or_read_only_disk_costs_one_warning(
    code: int, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    said: list[str] = []
    cache = TimingCache(tmp_path / "folder" / "timings.json", said.append)
    cache.put("a", 1.0)
    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        assert not cache.save()
    assert len(said) == 1
    assert "cannot be written, later builds measure again" in said[0]
    assert os.strerror(code) in said[0]
    assert not (tmp_path / "folder").exists() or shown(tmp_path / "folder") == []


def test_a_lock_that_others_keep_costs_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "LOCK_SECONDS", 0.01)
    said: list[str] = []
    cache = TimingCache(tmp_path / "timings.json", said.append)
    cache.put("a", 1.0)
    with cache_module.FileLock(tmp_path / ".timings.json.lock"):
        assert not cache.save()
    assert len(said) == 1


def test_users_without_a_home_have_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "user_cache_path", lambda name, *, appauthor: Path("~") / name)
    assert default_path() is None
