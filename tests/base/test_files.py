"""Files appear complete or not at all, and only where a regular file or nothing is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import cast

import pytest

from tensorwright.base.errors import FileError
from tensorwright.base.files import replacing

KILLED = """
import os, sys
from tensorwright.base.files import replacing
with replacing(sys.argv[1]) as file:
    file.write(b"half of it")
    file.flush()
    os.kill(os.getpid(), 9)
"""


def write(path: Path, content: bytes) -> None:
    with replacing(path) as file:
        file.write(content)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_what_is_no_regular_file_is_refused_and_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path, kind in (
        (tmp_path / "pipe", "a named pipe"),
        (tmp_path / "folder", "a folder"),
        (Path("/dev/null"), "a device"),
    ):
        before = path.stat()
        with pytest.raises(FileError, match=f"expected a regular file or nothing, found {kind}"):
            write(path, b"new")
        assert path.stat().st_ino == before.st_ino
    assert names(tmp_path) == ["folder", "pipe"]


def test_links_are_followed(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("there/file")
    (tmp_path / "dangling").symlink_to("there/other")
    write(tmp_path / "link", b"new")
    write(tmp_path / "dangling", b"newer")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_bytes() == b"new"
    assert (tmp_path / "there" / "other").read_bytes() == b"newer"
    assert names(tmp_path / "there") == ["file", "other"]
    (tmp_path / "device").symlink_to("/dev/full")
    with pytest.raises(FileError, match="found a device"):
        write(tmp_path / "device", b"new")


@pytest.mark.parametrize("mode", [0o600, 0o444, 0o755])
def test_permissions_stay(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    write(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == mode


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")
    with pytest.raises(TypeError), replacing(path) as file:
        file.write(cast(bytes, "no bytes"))
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_the_draft_of_a_killed_writer_is_deleted_by_the_next_one(tmp_path):
    path = tmp_path / "file"
    write(path, b"old")
    subprocess.run([sys.executable, "-c", KILLED, path], check=False)
    assert len(names(tmp_path)) == 2
    assert path.read_bytes() == b"old"
    write(tmp_path / "another", b"not the same file")
    assert len(names(tmp_path)) == 3
    write(path, b"new")
    assert names(tmp_path) == ["another", "file"]


def test_the_draft_of_a_living_writer_stays(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as file:
        file.write(b"slow")
        write(path, b"fast")
        assert path.read_bytes() == b"fast"
    assert path.read_bytes() == b"slow"
    assert names(tmp_path) == ["file"]


def test_a_path_with_a_zero_byte_is_refused(tmp_path):
    with pytest.raises(FileError, match="zero byte"):
        write(tmp_path / "a\0b", b"new")
