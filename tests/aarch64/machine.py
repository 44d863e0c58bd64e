"""A folder with QEMU and a Python for AArch64: Debian's packages and wheels of the Python Package Index."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EMULATOR = "qemu-user-static"
SYSTEM = (
    "python3.11-minimal", "libpython3.11-minimal", "libpython3.11-stdlib", "libc6", "libexpat1", "zlib1g", "libssl3",
    "libffi8", "libbz2-1.0", "liblzma5", "libcrypt1", "libgcc-s1", "libstdc++6", "libuuid1",
)  # fmt: skip
"""Debian 12's packages that a Python with NumPy needs."""
WHEELS = (
    "numpy", "ml_dtypes", "xxhash", "filelock", "platformdirs", "llvmlite", "onnx", "protobuf", "typing_extensions",
    "cryptography", "cffi", "pycparser", "pytest", "pygments", "pluggy", "iniconfig", "packaging", "hypothesis",
    "sortedcontainers",
)  # fmt: skip
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux_2_17", "manylinux2014")
DONE = "complete"


class Missing(Exception):
    """What this machine lacks to set the other one up."""


@dataclass(frozen=True)
class Machine:
    """The machine in a folder."""

    folder: Path

    @property
    def python(self) -> Path:
        """A program that is Python there; the processes that it starts are to be this program again."""
        return self.folder / "python"

    def environment(self, paths: Sequence[Path]) -> dict[str, str]:
        """What it needs in order to find what lies in the paths."""
        path = os.pathsep.join(map(str, (self.folder / "site", *paths)))
        return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}


def machine_in(folder: Path) -> Machine:
    """The machine, set up if it is not yet.

    Raises:
        Missing: a tool or a network that setting it up needs.
    """
    if not (folder / DONE).exists():
        tools = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]
        if tools:
            raise Missing(f"setting up a machine for AArch64 needs {' and '.join(tools)}, as Debian 12 has them")
        shutil.rmtree(folder, ignore_errors=True)
        if shutil.which("qemu-aarch64-static") is None:
            _unpacked(folder, "emulator", "amd64", [EMULATOR])
        _unpacked(folder, "root", "arm64", SYSTEM)
        _wheels(folder)
        _program(folder)
        (folder / DONE).touch()
    return Machine(folder)


def _unpacked(folder: Path, name: str, architecture: str, packages: Sequence[str]) -> None:
    """Fetch Debian's packages for an architecture as a user may, and unpack them below a folder of that name."""
    lists, archives = folder / "apt" / architecture, folder / "packages" / architecture
    for made in (lists / "lists/partial", lists / "cache/archives/partial", archives):
        made.mkdir(parents=True)
    options = (
        f"-oAPT::Architecture={architecture}", f"-oAPT::Architectures={architecture}", "-oAPT::Sandbox::User=root",
        f"-oDir::State::Lists={lists / 'lists'}", f"-oDir::Cache={lists / 'cache'}",
    )  # fmt: skip
    _run(["apt-get", *options, "-qq", "update"], archives)
    _run(["apt-get", *options, "-qq", "download", *packages], archives)
    for package in sorted(archives.glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(folder / name)], archives)


def _wheels(folder: Path) -> None:
    platforms = [word for name in PLATFORMS for word in ("--platform", f"{name}_aarch64")]
    version = ["--python-version", "3.11", "--implementation", "cp"]
    what = ["--no-deps", "--only-binary=:all:", *version, *platforms, "-d", str(folder / "wheels")]
    _run([sys.executable, "-m", "pip", "download", "--quiet", *what, *WHEELS], folder)
    for wheel in sorted((folder / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "site")


def _program(folder: Path) -> None:
    emulator = shutil.which("qemu-aarch64-static") or folder / "emulator/usr/bin/qemu-aarch64-static"
    root = folder / "root"
    program = folder / "python"
    words = f"exec '{emulator}' -L '{root}' '{root}/usr/bin/python3.11' \"$@\""
    program.write_text(f"#!/bin/sh\nexport PYTHONHOME='{root}/usr'\n{words}\n")
    program.chmod(0o755)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{' '.join(command[:2])} failed, a network and Debian 12's packages are needed: {done.stderr}")
