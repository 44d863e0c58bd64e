"""Ranges of tensors on sample inputs: thresholds against plain loops, networks against their references."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from onnx import helper, numpy_helper

import tensorwright as tw
from emulation import pretend
from targets import with_one
from tensorwright.build.calibrate import BINS, LEVELS, Histogram, entropy_threshold, quantile_threshold, read_text
from tensorwright.devices.cpu.instruction_sets import INSTRUCTION_SETS
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.plan.file import read_plan


def divergence(counts, first):
    """Σ P log(P / Q), bin by bin."""
    p = counts[:first].astype(np.float64)
    p[-1] += counts[first:].sum()
    q = np.zeros(first)
    for level in range(LEVELS):
        low, high = level * first // LEVELS, (level + 1) * first // LEVELS
        used = [place for place in range(low, high) if p[place]]
        for place in used:
            q[place] = counts[low:high].sum() / len(used)
    p, q = p / p.sum(), q / q.sum()
    with np.errstate(divide="ignore"):
        return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True) if a)


@pytest.mark.parametrize("kind", ["normal", "heavy", "sparse"])
def test_the_entropy_threshold_loses_the_least_information(rng, kind):
    values = {
        "normal": rng.standard_normal(20_000),
        "heavy": rng.standard_t(2, 20_000),
        "sparse": np.concatenate([rng.standard_normal(300), [40.0]]),
    }[kind]
    counts = np.histogram(np.abs(values), BINS, (0, np.abs(values).max()))[0]
    found = round(entropy_threshold(counts) - 0.5)
    tried = {*range(LEVELS, BINS + 1, 61), found, found - 1, found + 1} & set(range(LEVELS, BINS + 1))
    without_zeros = np.concatenate([counts[1:2], counts[1:]])
    losses = {first: divergence(without_zeros, first) for first in tried}
    assert losses[found] <= min(losses.values()) + 1e-12
    if kind == "heavy":
        assert found < BINS
    counts[0] += 10**6
    assert round(entropy_threshold(counts) - 0.5) == found


def test_elements_of_few_values_are_not_clipped_to_the_least_of_them(rng):
    histogram = Histogram()
    histogram.add((rng.integers(0, 17, 5000) / 16).astype(np.float32))
    assert histogram.threshold("EntropyCalibration2", 1) == 1.0


def test_histograms_become_wider_and_keep_every_element(rng):
    batches = [rng.standard_normal(500).astype(np.float32) * scale for scale in (0.0, 1.0, 7.0, 3000.0, 2.0, 1e9)]
    histogram, together = Histogram(), np.concatenate(batches)
    assert all(histogram.add(batch) for batch in batches)
    assert histogram.largest == np.abs(together).max()
    assert histogram.counts.sum() == together.size
    assert histogram.threshold("MinMaxCalibration", 1) == histogram.largest
    expected = np.histogram(np.abs(together), BINS, (0, histogram.limit))[0]
    assert np.abs(np.cumsum(expected) - np.cumsum(histogram.counts)).max() <= 2  # Elements at edges.
    assert not histogram.add(np.array([np.nan, np.inf, 1], np.float32))
    assert histogram.counts.sum() == together.size + 1


def test_the_quantile(rng):
    values = np.abs(rng.standard_normal(10_000))
    counts = np.histogram(values, BINS, (0, values.max()))[0]
    found = quantile_threshold(counts, 0.99) * values.max() / BINS
    assert found == pytest.approx(np.quantile(values, 0.99), abs=2 * values.max() / BINS)
    assert quantile_threshold(counts, 1.0) == BINS


class Messages(tw.ILogger):
    def __init__(self):
        self.all = []

    def log(self, severity, msg):
        self.all.append((severity, msg))

    def said(self, severity, text):
        return sum(found is severity and text in message for found, message in self.all)


@pytest.fixture
def builder():
    made = tw.Builder()
    made.logger = Messages()
    made.max_batch_size = 2
    return made


@pytest.fixture
def config(builder):
    made = builder.create_builder_config()
    made.builder_optimization_level = 0
    made.set_flag(tw.BuilderFlag.INT8)
    return made


def network_of(builder, rng, flags=0):
    network = builder.create_network(flags)
    x = network.add_input("x", tw.float32, (-1, 3, 6, 6) if flags else (3, 6, 6))
    kernel = rng.uniform(-1, 1, (4, 3, 3, 3)).astype(np.float32)
    conv = network.add_convolution(x, 4, (3, 3), kernel, name="conv")
    relu = network.add_activation(conv.get_output(0), tw.ActivationType.RELU, name="relu")
    network.add_unary(relu.get_output(0), tw.UnaryOperation.NEG, name="unused")
    soft = network.add_softmax(relu.get_output(0), name="soft")
    soft.get_output(0).name = "y"
    network.mark_output(soft.get_output(0))
    return network


@pytest.mark.parametrize("flags", [0, 1])
def test_ranges_are_measured_and_kept_in_the_plan(builder, config, rng, flags):
    network = network_of(builder, rng, flags)
    batches = rng.uniform(-1, 1, (3, 2, 3, 6, 6)).astype(np.float32)
    config.int8_calibrator = tw.Calibrator(({"x": batch} for batch in batches), "MinMaxCalibration")
    engine = builder.build_engine(network, config)
    report = engine.report["calibration"]
    assert (report["algorithm"], report["batches"], report["missing"]) == ("MinMaxCalibration", 3, [])
    graph = network.to_measured_graph(max_batch_size=2)
    assert [name for name, _ in graph.outputs] == ["conv_output", "relu_output", "y"]
    expected = {"x": np.abs(batches).max()}
    for batch in batches:
        for name, array in evaluate_graph(graph, {"x": batch}).items():
            expected[name] = max(expected.get(name, 0), np.abs(array).max())
    assert list(report["ranges"]) == list(expected)
    for name, value in expected.items():
        assert report["ranges"][name] == pytest.approx(float(value), rel=1e-5)
    again = tw.Runtime().deserialize_engine(engine.serialize())
    assert again.report["calibration"] == report
    np.testing.assert_allclose(engine(batches[0])["y"].sum(1), 1, rtol=1e-5)
    assert builder.logger.said(tw.Severity.INFO, "ranges of 4 tensors from 3 batches") == 1


def test_a_cache_is_written_once_and_read_again(builder, config, rng, tmp_path):
    network, cache = network_of(builder, rng), tmp_path / "cache"
    batches = [rng.uniform(-1, 1, (1, 3, 6, 6)).astype(np.float32) for _ in range(2)]
    config.int8_calibrator = tw.Calibrator(batches, cache=cache)
    first = builder.build_engine(network, config).report["calibration"]
    lines = cache.read_text().splitlines()
    assert lines[0] == "TRT-8000-MinMaxCalibration"
    name, bits = lines[1].split(": ")
    step = np.array([int(bits, 16)], np.uint32).view(np.float32)[0]
    assert step * 127 == pytest.approx(first["ranges"][name])
    written = cache.stat().st_mtime_ns
    config.int8_calibrator = tw.Calibrator([], cache=cache)
    second = builder.build_engine(network, config).report["calibration"]
    assert cache.stat().st_mtime_ns == written
    assert second["batches"] == 0
    assert second["ranges"] == pytest.approx(first["ranges"], rel=1e-6)

    cache.write_text("\n".join([lines[0], *lines[2:]]))
    config.int8_calibrator = tw.Calibrator([], cache=cache)
    assert builder.build_engine(network, config).report["calibration"]["missing"] == ["x"]
    assert builder.logger.said(tw.Severity.WARNING, "1 of 4 tensors are missing in it: x") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"TRT-8000-EntropyCalibration2\nx: 3c000000\n", "made by EntropyCalibration2, MinMaxCalibration is asked for"),
        (b"TRT-8000-MinMaxCalibration\nother: 3c000000\n", "knows none of the network's tensors"),
        (b"TRT-8000-MinMaxCalibration\nx: 3c0\n", "line 2: expected 'name: bits'"),
        (b"TRT-8000-MinMaxCalibration\nx: ff800000\n", "line 2: expected 'name: bits'"),
        (b"\x00\x01\xff", "expected a header and lines"),
    ],
)
def test_a_cache_that_does_not_fit_is_not_used(builder, config, rng, tmp_path, text, message):
    (tmp_path / "cache").write_bytes(text)
    config.int8_calibrator = tw.Calibrator([rng.random((1, 3, 6, 6), np.float32)], cache=tmp_path / "cache")
    assert builder.build_engine(network_of(builder, rng), config).report["calibration"]["batches"] == 1
    assert builder.logger.said(tw.Severity.WARNING, message) == 1
    assert (tmp_path / "cache").read_bytes().startswith(b"TRT-8000-MinMaxCalibration\nx: ")


def test_a_cache_keeps_both_ends_of_ranges(builder, config, rng, tmp_path):
    """A build from the cache is quantised as the one that wrote it."""
    network, cache, plans = network_of(builder, rng), tmp_path / "cache", []
    for batches in ([rng.uniform(-1, 2, (1, 3, 6, 6)).astype(np.float32)], []):
        config.int8_calibrator = tw.Calibrator(batches, cache=cache)
        plans.append(builder.build_engine(network, config))
    x = rng.uniform(-1, 2, (1, 3, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(plans[0](x)["y"], plans[1](x)["y"], rtol=1e-5)


def test_caches_of_older_versions_and_odd_names():
    assert read_text(b"1\nfc 2/a: b: 3f800000\r\n\0") == ("", {"fc 2/a: b": 127.0})


class TestErrors:
    def test_batches(self, builder, config, rng):
        network = network_of(builder, rng)
        good = rng.random((1, 3, 6, 6), np.float32)
        for batches, message in (
            ([], "gave no batch"),
            ([good, good[:, :2]], r"batch 1, input 'x': expected an array of shape \(1, 3, 6, 6\)"),
            ([{"z": good}], "batch 0 has no array for input 'x'"),
        ):
            config.int8_calibrator = tw.Calibrator(batches)
            with pytest.raises(tw.BuildError, match=message):
                builder.build_engine(network, config)
        config.int8_calibrator = tw.Calibrator([np.zeros((4, 3, 6, 6), np.float32)])
        with pytest.raises(tw.BuildError, match="batches of 4 were announced, input 'x' takes 1 to 2"):
            builder.build_engine(network_of(builder, rng, 1), config)

    def test_arguments(self):
        with pytest.raises(tw.BuildError, match="expected one of LegacyCalibration, "):
            tw.Calibrator([], "entropy")
        with pytest.raises(tw.BuildError, match="quantile above 0 up to 1, found 2"):
            tw.Calibrator([], quantile=2)

    def test_a_calibrator_without_int8_is_not_called(self, builder, config, rng):
        config.clear_flag(tw.BuilderFlag.INT8)
        config.int8_calibrator = tw.Calibrator([])
        assert "calibration" not in builder.build_engine(network_of(builder, rng), config).report
        assert builder.logger.said(tw.Severity.WARNING, "int8 is not asked for") == 1


def perceptron(rng):
    """Two products with a name each, and a set of inputs for it."""
    shapes = {"v": (32, 64), "w": (64, 8)}
    constants = {name: rng.standard_normal(shape).astype(np.float32) / 6 for name, shape in shapes.items()}
    nodes = [
        helper.make_node("MatMul", ["x", "v"], ["first"]),
        helper.make_node("Relu", ["first"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "w"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, 1, [4, n]) for name, n in (("x", 32), ("y", 8)))
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "perceptron", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


TARGETS = "avx512_vnni", "avx2"
"""One with fast products of integers, and one without."""


def factors(engine):
    return [step["precision"] for step in engine.report["steps"] if "MatMul" in step["operators"]]


@pytest.mark.parametrize("target", with_one(lambda known: known.has_integer_dot))
@pytest.mark.parametrize("level", [0, 1])
def test_products_of_measured_tensors_are_those_of_integers(target, level, rng, monkeypatch):
    pretend(monkeypatch, target)
    model = perceptron(rng)
    batches = rng.standard_normal((6, 4, 32)).astype(np.float32)
    options = {"level": level, "threads": 1, "timing_cache": "", "target" if level else "instruction_set": target}
    engine = tw.build(model, precision="int8", calibrator=tw.Calibrator(batches, "MinMaxCalibration"), **options)
    expected = tw.build(model, **options)(batches[0])["y"]
    found = engine(batches[0])["y"]
    dots = INSTRUCTION_SETS[target].has_integer_dot
    types = factors(engine)
    assert types == ["uint8" if dots else "float32"] * 2 or (level and set(types) <= {"uint8", "float32"})
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()
    assert np.array_equal(found, expected) is ("uint8" not in types)
    assert set(engine.report["calibration"]["ranges"]) == {"x", "hidden"}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("is_known", [False, True])
def test_layers_stay_where_integers_bring_nothing_and_without_a_range(target, is_known, builder, config, rng, tmp_path):
    """People hear why, for a target with fast products of integers and for one without, whatever this machine has."""
    network = builder.create_network(1)
    x = network.add_input("x", tw.float32, (4, 32))
    weights = network.add_constant((32, 8), rng.standard_normal((32, 8)).astype(np.float32))
    product = network.add_matrix_multiply(x, tw.MatrixOperation.NONE, weights.get_output(0), tw.MatrixOperation.NONE)
    product.name = "product"
    network.mark_output(product.get_output(0))
    cache, names = tmp_path / "cache", ["matrix_multiply_0_output", "product_output", *["x"] * is_known]
    cache.write_text("\n".join(["TRT-8000-MinMaxCalibration", *(f"{name}: 3c000000" for name in names), ""]))
    config.int8_calibrator, config.instruction_set = tw.Calibrator([], cache=cache), target
    plan = read_plan(bytes(builder.build_serialized_network(network, config)))
    dots, said = INSTRUCTION_SETS[target].has_integer_dot, partial(builder.logger.said, tw.Severity.WARNING)
    assert factors(plan) == (["uint8"] if dots and is_known else ["float32"])
    assert plan.report["calibration"]["missing"] == ([] if is_known else ["x"])
    assert said("int8: 1 of 1 tensors have no range: x") == (not is_known)
    assert said("x; 1 of 1 products stay in float32") == (dots and not is_known)
    assert said(f"int8 brings nothing on {target}, which has no fast products of integers: not used") == (not dots)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "needs the ranges of tensors"),
        ({"calibrator": tw.Calibrator([])}, "which is not asked for"),
    ],
)
def test_int8_and_ranges_go_together(options, message, rng):
    with pytest.raises(tw.BuildError, match=message):
        tw.build(perceptron(rng), level=0, **options)
