"""Calibrators as scripts write them, of both generations of the interface."""

from __future__ import annotations

import ctypes
import re

import numpy as np
import pytest

from tensorwright.compat import tensorrt as trt
from tensorwright.compat.pycuda import driver as cuda
from tensorwright.compat.tensorrt import infer


class OldCalibrator(infer.EntropyCalibrator):
    """As scripts for TensorRT 4: addresses of the device, raw pointers to the cache."""

    def __init__(self, images, batch, cache):
        super().__init__()
        self.images, self.batch, self.cache = images, batch, cache
        self.calls, self.next = [], 0
        self.device_input = cuda.mem_alloc(batch * images[0].nbytes)

    def get_batch_size(self):
        return self.batch

    def get_batch(self, bindings, names):
        self.calls.append(list(names))
        images = self.images[self.next : self.next + self.batch]
        if len(images) < self.batch:
            return None
        self.next += self.batch
        cuda.memcpy_htod(self.device_input, np.ascontiguousarray(images))
        bindings[0] = int(self.device_input)
        return bindings

    def read_calibration_cache(self, length):
        return self.cache.read_bytes() if self.cache.exists() else None

    def write_calibration_cache(self, ptr, size):
        self.cache.write_bytes(ctypes.string_at(ptr, size))
        assert ctypes.c_char_p(int(ptr)).value == self.cache.read_bytes()


class NewCalibrator(trt.IInt8MinMaxCalibrator):
    """As scripts for TensorRT 8."""

    def __init__(self, images):
        trt.IInt8MinMaxCalibrator.__init__(self)
        self.left, self.written = list(images), b""

    def get_batch_size(self):
        return 1

    def get_batch(self, names):
        if not self.left:
            return None
        self.memory = cuda.to_device(self.left.pop()[None])
        return [self.memory]

    def read_calibration_cache(self):
        return None

    def write_calibration_cache(self, cache):
        self.written = cache


class QuantileCalibrator(infer.LegacyCalibrator):
    left = 1

    def get_batch_size(self):
        return 1

    def get_quantile(self):
        return 0.5

    def get_batch(self, bindings, names):
        self.left -= 1
        self.values = cuda.to_device(np.linspace(-1, 1, 18, dtype=np.float32))
        return None if self.left < 0 else [int(self.values)]


@pytest.fixture
def images(rng):
    return rng.uniform(-1, 1, (6, 2, 3, 3)).astype(np.float32)


def network_of(builder, flags=0):
    network = builder.create_network(flags)
    x = network.add_input("x", infer.DataType.FLOAT, (-1, 2, 3, 3) if flags else (2, 3, 3))
    y = network.add_unary(x, infer.UnaryOperation.EXP).get_output(0)
    y.set_name("y")
    network.mark_output(y)
    return network


@pytest.fixture
def builder():
    made = infer.create_infer_builder()
    made.inner.logger = infer.ConsoleLogger(infer.LogSeverity.WARNING)
    made.set_int8_mode(True)
    return made


def calibration(engine):
    return engine.inner.report["calibration"]


def test_the_older_interface(builder, images, tmp_path, capsys):
    calibrator = OldCalibrator(images, 2, tmp_path / "cache")
    builder.set_int8_calibrator(calibrator)
    engine = builder.build_cuda_engine(network_of(builder))
    assert calibrator.calls == [["x"]] * 4
    lines = (tmp_path / "cache").read_text().splitlines()
    assert lines[0] == "TRT-8000-EntropyCalibration"
    ends = [f"{name} ({end})" for name in "xy" for end in ("lowest", "highest")]
    assert sorted(line.split(": ")[0] for line in lines[1:]) == sorted(["x", "y", *ends])
    assert 0 < calibration(engine)["ranges"]["y"] <= np.exp(np.abs(images).max()) * 1.001
    assert capsys.readouterr().err.count("WARNING") == 0  # Without a product, nothing could be in integers.
    x = images[:1]
    np.testing.assert_allclose(engine.inner({"x": x})["y"], np.exp(x), rtol=1e-5)

    again = OldCalibrator(images, 2, tmp_path / "cache")
    builder.set_int8_calibrator(again)
    assert calibration(builder.build_cuda_engine(network_of(builder)))["batches"] == 0
    assert again.calls == []


def test_the_later_interface(images):
    builder = trt.Builder()
    config = builder.create_builder_config()
    config.set_flag(trt.BuilderFlag.INT8)
    calibrator = config.int8_calibrator = NewCalibrator(images)
    found = calibration(builder.build_engine(network_of(builder, 1), config))
    assert found["ranges"]["x"] == pytest.approx(float(np.abs(images).max()))
    assert found["ranges"]["y"] == pytest.approx(float(np.exp(images).max()), rel=1e-5)
    assert calibrator.written.startswith(b"TRT-8000-MinMaxCalibration\nx: ")


def test_utils_take_a_calibrator(builder, images, tmp_path):
    logger, calibrator = builder.inner.logger, OldCalibrator(images, 3, tmp_path / "cache")
    engine = trt.utils.trt_network_to_trt_engine(
        logger, network_of(builder), 1, 1 << 20, infer.DataType.INT8, calibrator=calibrator
    )
    assert calibration(engine)["batches"] == 2


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (lambda self, bindings, names: [1, 2], "address of each of the inputs x"),
        (lambda self, bindings, names: bindings, "input 'x': expected 144 bytes, .* found no memory"),
        (lambda self, bindings, names: ["x"], "expected an address, found str"),
        (lambda self, bindings, names: [setattr(self, "m", cuda.mem_alloc(64)) or self.m], "found .* of 64 bytes"),
        (lambda self, bindings, names: None, "gave no batch"),
    ],
)
def test_wrong_batches_are_told_apart(builder, images, tmp_path, monkeypatch, capsys, batch, message):
    monkeypatch.setattr(OldCalibrator, "get_batch", batch)
    builder.set_int8_calibrator(OldCalibrator(images, 2, tmp_path / "cache"))
    assert builder.build_cuda_engine(network_of(builder)) is None
    assert re.search(message, capsys.readouterr().err)


def test_a_legacy_calibrator_takes_a_quantile(builder):
    builder.set_int8_calibrator(QuantileCalibrator())
    found = calibration(builder.build_cuda_engine(network_of(builder)))
    assert found["algorithm"] == "LegacyCalibration"
    assert found["ranges"]["x"] == pytest.approx(0.5, abs=0.06)
