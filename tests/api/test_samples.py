"""Samples in folders, ranges of single tensors, and what stays in float32."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tensorwright as tw
from tensorwright.api.samples import FolderCalibrator
from tensorwright.api.shortcuts import build_plan
from tensorwright.devices.cpu.instruction_sets import INSTRUCTION_SETS

DEMO = Path(__file__).parents[2] / "demo"
QUICK = {"precision": "int8", "level": 0, "threads": 1, "timing_cache": ""}
F32 = np.dtype(np.float32)


def batches_of(folder, shape, **options):
    return [batch["x"] for batch in FolderCalibrator(folder, **options).batches({"x": (shape, F32)})]


def test_arrays_are_batches_or_samples(tmp_path, rng):
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3), (5, 3))]
    for number, array in enumerate(arrays):
        np.save(tmp_path / f"{number}.npy", array)
    found = batches_of(tmp_path, (4, 3))
    assert all(np.array_equal(*pair) for pair in zip(found, arrays, strict=True))
    np.savez(tmp_path / "2.npz", x=arrays[0], other=arrays[1])
    assert np.array_equal(batches_of(tmp_path, (4, 3))[2], arrays[0])
    np.save(tmp_path / "3.npy", arrays[0].astype(np.float64)[0])
    np.save(tmp_path / "4.npy", arrays[1][:1])
    np.save(tmp_path / "5.npy", arrays[1][1])
    last = batches_of(tmp_path, (2, 3))[3:]
    rows = [arrays[0][0], arrays[1][0], arrays[1][1], arrays[0][0]]
    np.testing.assert_array_equal(np.concatenate(last), np.stack(rows))


@pytest.mark.parametrize("shape", [(3, 3, 4, 5), (3, 4, 5, 3), (3, 1, 4, 5)])
def test_images_are_scaled_and_normalised(tmp_path, rng, shape):
    pixels = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(np.full((9, 7), 100, np.uint8)).save(tmp_path / "b.pgm")
    mean, std = ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)) if 1 not in shape[1:] else ((7.0,), (2.0,))
    (batch,) = batches_of(tmp_path, shape, mean=mean, std=std)
    assert batch.shape == shape
    assert batch.dtype == np.float32
    last = batch if shape[3] == 3 else batch.transpose(0, 2, 3, 1)
    if last.shape[3] == 3:
        np.testing.assert_allclose(last[0], (pixels - np.float32(mean)) / np.float32(std), rtol=1e-6)
    np.testing.assert_allclose(last[1], np.broadcast_to((100 - np.float32(mean)) / np.float32(std), last[1].shape))
    np.testing.assert_array_equal(last[2], last[0])
    assert batches_of(tmp_path, shape)[0].max() <= 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: None, "it is empty"),
        (lambda folder: (folder / "a.txt").write_text("x"), r"expected .npy, .npz or image files .*found 'a.txt'"),
        (lambda folder: (folder / "a.npy").write_text("x"), "expected arrays as numpy.save"),
        (lambda folder: np.save(folder / "a.npy", np.zeros((2, 2, 2, 2), np.float32)), r"found float32 \(2, 2, 2, 2\)"),
        (lambda folder: np.save(folder / "a.npy", np.zeros((2, 3), np.complex64)), "found complex64"),
        (lambda folder: np.savez(folder / "a.npz", y=np.zeros(3)), "expected arrays x, found y"),
        (lambda folder: Image.new("L", (3, 3)).save(folder / "a.png"), "images are for inputs of four axes"),
    ],
)
def test_what_is_no_sample_is_named(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(tw.BuildError, match=message):
        batches_of(tmp_path, (2, 3))


def test_samples_that_do_not_fit(tmp_path):
    with pytest.raises(tw.BuildError, match="expected a folder"):
        FolderCalibrator(tmp_path / "none")
    np.save(tmp_path / "a.npy", np.zeros((2, 3), np.float32))
    with pytest.raises(tw.BuildError, match=r"inputs x, y; expected \.npz"):
        list(FolderCalibrator(tmp_path).batches(dict.fromkeys("xy", ((2, 3), F32))))
    with pytest.raises(tw.BuildError, match="none of 0 for std"):
        FolderCalibrator(tmp_path, std=(0.0,))
    (tmp_path / "a.npy").unlink()
    (tmp_path / "b.png").write_text("x")
    with pytest.raises(tw.BuildError, match=r"b\.png: this image cannot be read"):
        batches_of(tmp_path, (2, 3, 4, 4))
    (tmp_path / "b.png").unlink()
    np.save(tmp_path / "b.npy", np.zeros((1, 4), np.float32))
    np.save(tmp_path / "a.npy", np.zeros((1, 3), np.float32))
    with pytest.raises(tw.BuildError, match="samples of different shapes"):
        batches_of(tmp_path, (2, 3))


def digits(count):
    paths = sorted((DEMO / "digits").glob("*.pgm"))[:count]
    return [np.asarray(Image.open(path), np.float32).reshape(1, 1, 28, 28) / np.float32(255) for path in paths]


def test_a_folder_of_digits_gives_the_ranges_that_batches_in_memory_give(tmp_path):
    (tmp_path / "images").mkdir()
    for path in sorted((DEMO / "digits").glob("*.pgm"))[:3]:
        (tmp_path / "images" / path.name).write_bytes(path.read_bytes())
    engine = tw.build(
        DEMO / "lenet.onnx", calibration_data=tmp_path / "images", calibration_cache=tmp_path / "cache",
        calibration_algorithm="MinMaxCalibration", shapes={"batch": 1}, **QUICK,
    )  # fmt: skip
    expected = tw.build(
        DEMO / "lenet.onnx", calibrator=tw.Calibrator(digits(3), "MinMaxCalibration"), shapes={"batch": 1}, **QUICK
    )
    assert engine.report["calibration"] == expected.report["calibration"]
    assert engine.report["calibration"]["batches"] == 3
    again = tw.build(
        DEMO / "lenet.onnx", calibration_cache=tmp_path / "cache", calibration_algorithm="MinMaxCalibration", **QUICK
    )
    assert again.report["calibration"]["batches"] == 0
    assert again.report["calibration"]["ranges"] == pytest.approx(engine.report["calibration"]["ranges"])


def products_in_integers(engine):
    steps = {step["name"].split(" ")[0]: str(step["precision"]) for step in engine.report["steps"]}
    return [name for name in ("conv1", "conv2", "fc1", "fc2") if "int8" in steps.get(name, "")]


def test_layers_are_held_to_float32():
    lenet = DEMO / "lenet.onnx"
    all_of_them = tw.build(lenet, calibrator=tw.Calibrator(digits(2)), **QUICK)
    held = tw.build(lenet, calibrator=tw.Calibrator(digits(2)), layer_precision={"conv2": "fp32"}, **QUICK)
    if products_in_integers(all_of_them):
        assert len(products_in_integers(all_of_them)) == 4
        assert len(products_in_integers(held)) == 3


@pytest.mark.parametrize("target", ["avx512_amx", "aarch64"])
def test_ranges_for_another_processor_are_measured_by_this_one(target):
    samples = partial(tw.Calibrator, digits(2), "MinMaxCalibration")
    there = build_plan(DEMO / "lenet.onnx", calibrator=samples(), instruction_set=target, **QUICK)
    here = build_plan(DEMO / "lenet.onnx", calibrator=samples(), **QUICK)
    assert there.report["calibration"]["ranges"] == pytest.approx(here.report["calibration"]["ranges"], rel=1e-5)
    assert len(products_in_integers(there)) == (4 if INSTRUCTION_SETS[target].has_integer_dot else 0)


@pytest.mark.parametrize("target", ["avx512_vnni", "avx2"])
def test_tensors_without_a_range_are_named(target):
    """Also where integers bring nothing: the ranges may be kept for other machines."""
    messages = []

    class Log(tw.ILogger):
        def log(self, severity, msg):
            messages.append(msg)

    ranges, dots = {"pool1": 3.0, "relu": 4}, INSTRUCTION_SETS[target].has_integer_dot
    some = build_plan(DEMO / "lenet.onnx", dynamic_ranges=ranges, logger=Log(), instruction_set=target, **QUICK)
    assert some.report["calibration"]["ranges"] == ranges
    assert len(products_in_integers(some)) == (2 if dots else 0)
    assert any("2 of 4 tensors have no range: image, flatten" in message for message in messages), messages
    assert any("2 of 4 products stay in float32" in message for message in messages) == dots
    assert any(f"int8 brings nothing on {target}" in message for message in messages) != dots


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needs the ranges of tensors: give calibration_data"),
        ({"precision": (), "dynamic_ranges": {"pool1": 1.0}}, "which is not asked for"),
        ({"dynamic_ranges": {"pool9": 1.0}}, "no tensor 'pool9'.*'pool1'"),
        ({"dynamic_ranges": {"pool1": -1.0}}, "'pool1': expected a finite number above 0, found -1.0"),
        ({"image_mean": "a"}, "several numbers"),
        ({"calibration_algorithm": "Best"}, "one of LegacyCalibration"),
    ],
)
def test_options_that_say_nothing_usable(options, message):
    with pytest.raises(tw.BuildError, match=message):
        tw.build(DEMO / "lenet.onnx", **{**QUICK, **options})


@pytest.mark.parametrize("flags", [0, 1])
def test_dynamic_ranges_of_tensors_take_the_place_of_a_calibrator(rng, flags):
    builder = tw.Builder()
    builder.max_batch_size = 2
    network = builder.create_network(flags)
    x = network.add_input("x", tw.float32, (2, 4, 6, 6) if flags else (4, 6, 6))
    kernel = rng.uniform(-1, 1, (4, 4, 3, 3)).astype(np.float32)
    layer = network.add_convolution(x, 4, (3, 3), kernel, name="conv")
    network.mark_output(layer.get_output(0))
    config = builder.create_builder_config()
    config.builder_optimization_level = 0
    config.set_flag(tw.BuilderFlag.INT8)
    x.dynamic_range = (-1.0, 0.5)
    engine = builder.build_engine(network, config)
    assert engine.report["calibration"]["ranges"] == {"x": 1.0}
    given = rng.uniform(-1, 1, (2, 4, 6, 6)).astype(np.float32)
    x.dynamic_range = None
    exact = builder.build_engine(network, config)
    assert "calibration" not in exact.report
    found, expected = engine({"x": given})["conv_output"], exact({"x": given})["conv_output"]
    assert 0 < np.abs(found - expected).max() < 0.2 or not products_in_integers(engine)
    with pytest.raises(tw.NetworkError, match="expected finite numbers"):
        x.set_dynamic_range(2, 1)
