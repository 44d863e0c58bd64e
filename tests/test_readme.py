"""What the README shows works as written."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "demo", tmp_path / "demo")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_python_blocks_run(folder: Path) -> None:
    assert len(blocks("python")) == 2
    script = folder / "readme.py"
    script.write_text("\n".join(blocks("python")) + "\nprint(context.execute)\n")
    result = subprocess.run([sys.executable, str(script)], cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0] in map(str, range(10))


def test_shell_commands_run(folder: Path) -> None:
    lines = [line.split("#")[0].strip() for block in blocks("shell") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("tensorwright")]
    assert len(commands) == 10
    environment = {**os.environ, "COLUMNS": "200"}
    for command in commands:
        full = [sys.executable, "-m", "tensorwright", *command[1:]]
        full += ["--duration", "0.2"] if command[1] == "bench" else []
        result = subprocess.run(full, cwd=folder, capture_output=True, text=True, check=False, env=environment)
        assert result.returncode == 0, f"{command}: {result.stderr}"
        assert result.stdout or command[1] == "run"


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name}: {link}"
