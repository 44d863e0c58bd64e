"""External data is in this process's memory only while somebody uses it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from tensorwright.importers.onnx.tensors import ExternalFiles, weights_from

SIZE = 8 << 20


def external(location: str, offset: int, count: int) -> TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.UINT8, dims=[count], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(count))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def mapped_bytes(path: Path) -> int:
    """How much of a file is in this process's memory, by proc_pid_smaps(5)."""
    lines, found, inside = Path("/proc/self/smaps").read_text().splitlines(), 0, False
    for line in lines:
        name = line.split(None, 1)[0]
        if not name.endswith(":"):
            inside = line.endswith(str(path))
        elif inside and name == "Rss:":
            found += int(line.split()[1]) << 10
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much memory is in use")
def test_values_leave_the_memory_and_come_back(tmp_path: Path, rng: np.random.Generator) -> None:
    path, content = tmp_path / "w.bin", rng.integers(0, 255, SIZE, np.uint8)
    path.write_bytes(content.tobytes())
    weights = weights_from(external("w.bin", 0, SIZE), ExternalFiles([tmp_path]))
    _ = weights.digest
    assert mapped_bytes(path) < SIZE // 4
    np.testing.assert_array_equal(weights.array, content)
    assert mapped_bytes(path) == SIZE
    weights.let_go()
    assert mapped_bytes(path) < SIZE // 4
    np.testing.assert_array_equal(weights.array, content)


def test_only_whole_pages_are_let_go(tmp_path: Path) -> None:
    content = np.arange(3 << 12, dtype=np.uint16).view(np.uint8)
    (tmp_path / "w.bin").write_bytes(content.tobytes())
    files = ExternalFiles([tmp_path])
    parts = [(0, 0), (1, 100), (4095, 4098), (5000, content.size - 5000)]
    for offset, count in parts:
        weights = weights_from(external("w.bin", offset, count), files)
        weights.let_go()
        np.testing.assert_array_equal(weights.array, content[offset : offset + count])
