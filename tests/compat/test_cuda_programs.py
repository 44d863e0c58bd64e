"""Unmodified programs on a GPU: an emulated one, which executes their kernels, and a real one where there is one."""

from __future__ import annotations

import gc
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import caffe_models
from compat.lenet import DIGITS, frozen_lenet, label
from compat.test_programs import PROGRAMS, caffe_files, run  # noqa: F401 - a fixture
from cuda_emulator import EmulatedLibrary, emulated
from tensorwright.api.config import BuilderConfig
from tensorwright.api.logger import ILogger
from tensorwright.compat import activate, deactivate
from tensorwright.compat.machine import choose
from tensorwright.compat.pycuda import driver as cuda
from tensorwright.compat.pycuda import gpuarray

Run = Callable[..., str]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[EmulatedLibrary]:
    found = emulated(monkeypatch, tmp_path, gpus=2)
    choose("cuda:1")
    yield found
    choose("cpu")


@pytest.fixture
def run_on_gpu(
    gpu: EmulatedLibrary, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """Runs a program in this process; what it prints."""

    def call(program: Path, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [str(program), *map(str, arguments)])
        runpy.run_path(str(program), run_name="__main__")
        return capsys.readouterr().out

    made = BuilderConfig.__init__

    def untimed(self: BuilderConfig, logger: ILogger) -> None:
        made(self, logger)
        self.builder_optimization_level = 0  # Timing kernels here would take minutes.

    monkeypatch.setattr(BuilderConfig, "__init__", untimed)
    activate(force=True, device="cuda:1")
    yield call
    deactivate()


def outputs_of(printed: str) -> np.ndarray:
    return np.array(printed.splitlines()[-1].split()[1:], np.float64).reshape(2, 4)


def expected_of(network: object) -> list[np.ndarray]:
    images = np.random.RandomState(0).rand(2, 3, 6, 6).astype(np.float32)
    return [caffe_models.outputs_of(network, data=image[None])["prob"].ravel() for image in images]


def test_a_caffe_model_through_a_file_to_outputs(run_on_gpu: Run, gpu: EmulatedLibrary, tmp_path, caffe_files):  # noqa: F811
    deploy, model, network = caffe_files
    printed = run_on_gpu(PROGRAMS / "classify_caffe_model.py", deploy, model, tmp_path / "net.engine")
    np.testing.assert_allclose(outputs_of(printed), expected_of(network), rtol=1e-5)
    assert gpu.launches
    gc.collect()
    assert not gpu._host


def test_a_gpu_that_is_not_there_is_said(timings, tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text("print('never')\n")
    done = run(timings, "--device", "cuda:9", tmp_path / "script.py")
    assert done.returncode == 2
    assert "libcuda.so.1 was not found" in done.stderr or "no GPU 9: the GPUs that this process may use" in done.stderr
    done = run(timings, "--device", "null", tmp_path / "script.py")
    assert "scripts run on cpu or cuda, not on 'null'" in done.stderr


def test_memory_copies_and_streams(gpu: EmulatedLibrary, rng: np.random.Generator) -> None:
    array, stream = rng.random((3, 5)), cuda.Stream()
    locked = cuda.pagelocked_empty_like(array)
    locked[:] = array
    assert locked.ctypes.data in gpu._host
    memory = cuda.mem_alloc(array.nbytes)
    assert int(memory) in gpu.memory
    cuda.memcpy_htod_async(memory, locked, stream)
    other, back = cuda.to_device(np.zeros_like(array)), np.zeros_like(array)
    cuda.memcpy_dtod_async(other, memory, array.nbytes, stream)
    event = cuda.Event().record(stream)
    cuda.memcpy_dtoh_async(back, other, stream)
    np.testing.assert_array_equal(back, array)
    assert event.query()
    cuda.memset_d32(memory, 0x3F800000, 30)
    np.testing.assert_array_equal(cuda.from_device(memory, (30,), np.float32), 1)
    cuda.memset_d16_async(memory, 7, 60, stream)
    np.testing.assert_array_equal(cuda.from_device(int(memory), 60, np.uint16), 7)
    there = gpuarray.to_gpu(array)
    np.testing.assert_array_equal(there.get(), array)
    made = [arguments[1] for name, arguments in gpu.calls if name == "cuStreamCreate"]
    assert 0 in made, "the streams of scripts and the default stream wait for each other"
    del memory, other, there, locked
    gc.collect()
    assert not gpu.memory
    assert not gpu._host


def test_what_the_device_is(gpu: EmulatedLibrary) -> None:
    device = cuda.Device(0)
    assert (device.name(), device.compute_capability(), device.pci_bus_id()) == ("Fake GPU", (9, 0), "0000:65:00.0")
    assert device.total_memory() == cuda.mem_get_info()[1] == gpu.size
    assert (cuda.get_version(), cuda.get_driver_version()) == ((13, 0, 0), 13000)
    assert cuda.Device.count() == 1
    with pytest.raises(cuda.MemoryError, match=r"2097152000 bytes could not be allocated .*bytes of GPU 1, which has"):
        cuda.mem_alloc(2000 << 20)
    with pytest.raises(cuda.LogicError, match="memory of a GPU is no memory of the process"):
        cuda.mem_alloc(64).as_buffer(64)
    cuda.Context.synchronize()


@pytest.mark.cuda
def test_a_frozen_graph_on_a_gpu(timings, tmp_path):
    frozen = tmp_path / "lenet.pb"
    frozen.write_bytes(frozen_lenet())
    done = run(timings, "--force", "--device", "cuda", PROGRAMS / "classify_frozen_graph.py", frozen, *DIGITS)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|     ")]
    found = [tuple(int(cell) for cell in line.strip("|").split("|")) for line in lines]
    assert [digit for _, digit in found] == [label(file) for file in DIGITS]


@pytest.mark.cuda
def test_a_caffe_model_on_a_gpu(timings, tmp_path, caffe_files):  # noqa: F811
    deploy, model, network = caffe_files
    program = PROGRAMS / "classify_caffe_model.py"
    done = run(timings, "--force", "--device", "cuda", program, deploy, model, tmp_path / "net.engine")
    assert done.returncode == 0, done.stdout + done.stderr
    np.testing.assert_allclose(outputs_of(done.stdout), expected_of(network), rtol=1e-5)
