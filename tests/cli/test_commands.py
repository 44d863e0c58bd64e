"""The commands, run in this process on the demo's model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import tensorwright as tw
from caffe_models import definition, layer, model
from tensorflow_graphs import GraphMaker
from tensorwright.cli.main import app

DEMO = Path(__file__).parents[2] / "demo"
LENET = str(DEMO / "lenet.onnx")
QUICK = ["--level", "0", "--threads", "1", "--quiet"]


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def succeed(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def fail(*arguments):
    """What a command that fails prints, on one line, to standard error."""
    result = invoke(*arguments)
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "lenet.plan"
    printed = succeed("build", LENET, "-o", path, *QUICK)
    assert "steps, built in" in printed
    return path


@pytest.fixture(scope="module")
def digit():
    data = (DEMO / "digits" / "digit-07-label-2.pgm").read_bytes()[-784:]
    return np.frombuffer(data, np.uint8).reshape(1, 1, 28, 28).astype(np.float32) / np.float32(255)


@pytest.fixture
def two_inputs(tmp_path):
    """z = x @ y; x float32[rows, 4], y float32[4, 2]."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "y"], ["z"])],
        "product",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 4]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 2]),
        ],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "product.onnx")
    return tmp_path / "product.onnx"


def test_build_writes_a_plan_and_shows_the_tactics(tmp_path, two_inputs):
    printed = succeed("build", two_inputs, "--shape", "rows=2:3:5", "-v", "--level", "1", "--timing-cache",
                      tmp_path / "cache", "--workspace", "64M", "--threads", "1")  # fmt: skip
    assert "Tactics tried and chosen" in printed
    assert "product.plan" in printed
    assert (tmp_path / "cache").exists()
    engine = tw.load(tmp_path / "product.plan")
    assert engine.bindings[0].type.shape == (tw.symbol("rows", 2, 3, 5), 4)
    succeed(
        "build", two_inputs, "-o", tmp_path / "fixed.plan", "--shape", "x=6x4", *QUICK, "--instruction-set", "baseline"
    )
    fixed = tw.load(tmp_path / "fixed.plan")
    assert fixed.get_binding_shape("x") == (6, 4)
    assert fixed.stamp.target == "baseline"


def test_build_leaves_out_what_it_is_told_to(tmp_path, two_inputs):
    options = ("-o", tmp_path / "out.plan", "--shape", "x=6x4", *QUICK)
    succeed("build", two_inputs, *options, "--no-fast-algorithms", "--exclude-tactic", "matmul_batched")
    report = tw.load(tmp_path / "out.plan").report
    assert report["fast_algorithms"]["allowed"] is False
    assert {step["tactic"] for step in report["steps"]} == {"generic"}
    assert "expected names of" in fail("build", two_inputs, *options, "--exclude-tactic", "generic")


def test_run_takes_files_and_writes_files(plan, digit, tmp_path, two_inputs, rng):
    np.save(tmp_path / "digit.npy", digit)
    printed = succeed("run", plan, "-i", tmp_path / "digit.npy", "-o", tmp_path / "out.npz")
    assert "probabilities" in printed
    with np.load(tmp_path / "out.npz") as outputs:
        assert outputs["probabilities"].argmax() == 2
    x, y = rng.normal(size=(3, 4)).astype(np.float32), rng.normal(size=(4, 2)).astype(np.float32)
    np.savez(tmp_path / "both.npz", x=x, y=y)
    succeed("run", two_inputs, "-i", tmp_path / "both.npz", "-o", tmp_path / "z.npz", *QUICK)
    with np.load(tmp_path / "z.npz") as outputs:
        np.testing.assert_allclose(outputs["z"], x @ y, rtol=1e-4, atol=1e-5)
    np.save(tmp_path / "x.npy", x)
    succeed("run", two_inputs, "-i", f"x={tmp_path / 'x.npy'}", "-o", tmp_path / "z.npz", *QUICK)
    with np.load(tmp_path / "z.npz") as outputs:
        assert outputs["z"].shape == (3, 2)


def test_random_inputs_depend_on_the_seed_alone(plan, tmp_path):
    found = []
    for number, seed in enumerate([1, 1, 2]):
        succeed("run", plan, "--batch", 3, "--seed", seed, "-o", tmp_path / f"{number}.npz")
        with np.load(tmp_path / f"{number}.npz") as outputs:
            found.append(outputs["probabilities"])
    assert found[0].shape == (3, 10)
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_bench_alone_and_against_a_peer(plan):
    quick = ["--duration", "0.05", "--rounds", "2", "--warm-up", "0"]
    assert "tensorwright" in succeed("bench", plan, *quick)
    alone = json.loads(succeed("bench", plan, *quick, "--json", "--batch", "2"))
    results = alone["results"]["tensorwright"]
    assert 0 < results["min"] <= results["median"] <= results["p90"] <= results["p99"]
    both = json.loads(
        succeed("bench", plan, "--model", LENET, "--against", "onnxruntime", "--batch", "2", *quick, "--json")
    )
    assert set(both["results"]) == {"tensorwright", "onnxruntime"}
    ours, theirs = both["results"].values()
    assert both["ratio"]["median"] == pytest.approx(ours["median"] / theirs["median"])
    assert both["difference"] < 1e-4
    assert both["threads"] == 1


def test_bench_of_several_devices(plan, tmp_path):
    quick = ["--throughput", "--duration", "0.05", "--rounds", "2", "--warm-up", "0"]
    alone = json.loads(succeed("bench", plan, *quick, "--batch", "2", "--json"))
    assert (alone["devices"], alone["items"], list(alone["results"])) == (1, 2, ["cpu"])
    succeed("build", LENET, "-o", tmp_path / "null.plan", "--device", "null", "--level", "0", "-q")
    several = ["bench", tmp_path / "null.plan", *quick, "--devices", "null:0,null:1", "--contexts", "1"]
    found = json.loads(succeed(*several, "--json"))
    assert list(found["results"]) == ["null:0", "null:0, null:1"]
    medians = [result["median"] for result in found["results"].values()]
    assert found["efficiency"] == pytest.approx(medians[1] / medians[0] / 2)
    assert "2 devices do" in succeed(*several)
    apart = json.loads(succeed(*several, "--processes", "--json"))
    assert list(apart["results"]) == ["null:0", "null:0, null:1"]
    refused = invoke("bench", plan, *quick, "--against", "onnxruntime")
    assert "--throughput is measured without peers" in refused.stderr
    assert "cannot run on 'cuda:7'" in invoke("bench", plan, *quick, "--devices", "cuda:7").stderr


def test_bench_fails_when_the_outputs_differ(plan, tmp_path):
    model = onnx.load(LENET)
    model.graph.node[-1].op_type = "LogSoftmax"
    onnx.save(model, tmp_path / "other.onnx")
    result = invoke("bench", plan, "--model", tmp_path / "other.onnx", "--against", "onnxruntime", "--duration", "0.02")
    assert result.exit_code == 1
    assert "the outputs differ from those of onnxruntime" in result.stderr


def test_bench_compares_quantised_models(tmp_path):
    """Also where sums of products of bytes saturate in ONNX Runtime."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["q", "w", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["wide", "scale"], ["y"]),
    ]
    x, y = (helper.make_tensor_value_info(name, 1, shape) for name, shape in (("x", [5, 64]), ("y", [5, 24])))
    weights = numpy_helper.from_array(np.full((64, 24), 127, np.int8), "w")
    graph = helper.make_graph(nodes, "quantised", [x], [y], [weights])
    path = tmp_path / "quantised.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    result = invoke("bench", path, "--against", "onnxruntime", "--duration", "0.02", "--json", *QUICK)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["difference"] < 1e-4


def test_inspect_shows_a_model():
    printed = succeed("inspect", LENET)
    assert "conv2" in printed
    assert "431,080 parameters" in printed
    found = json.loads(succeed("inspect", LENET, "--json"))
    assert found["parameters"] == 431080
    by_name = {layer["name"]: layer for layer in found["layers"] if layer["operator"] == "Convolution"}
    assert by_name["conv2"]["flops"] == 2 * 50 * 8 * 8 * 20 * 5 * 5
    assert by_name["conv2"]["parameters"] == 50 * 20 * 25 + 50


def test_inspect_shows_a_plan(plan):
    printed = succeed("inspect", plan, "-v")
    for expected in ("built by", "lower bound", "conv1", "% of peak", "Tactics tried", "probabilities"):
        assert expected in printed
    found = json.loads(succeed("inspect", plan, "--json"))
    assert found["arena"]["ratio"] >= 1
    assert found["stamp"]["package_version"] == tw.__version__
    assert found["symbols"] == {"batch": [1, 1, 16]}
    assert {binding["name"] for binding in found["bindings"]} == {"image", "probabilities"}
    profiled = json.loads(succeed("inspect", plan, "--profile", "--json"))
    assert [step["name"] for step in profiled["steps"]] == [step["name"] for step in found["steps"]]
    assert sum(step["milliseconds"] for step in profiled["steps"]) > 0
    assert all(step["roofline_share"] > 0 and step["gigabytes_per_second"] > 0 for step in profiled["steps"])
    assert {step["bound"] for step in profiled["steps"]} <= {"arithmetic", "L1", "L2", "L3", "memory"}
    assert "measured now" in succeed("inspect", plan, "--profile")


def test_frozen_graphs_are_built_and_inspected(tmp_path):
    frozen, target = tmp_path / "frozen.pb", tmp_path / "frozen.plan"
    graph = GraphMaker()
    graph.add("Softmax", graph.add("Relu", graph.placeholder((-1, 4)), name="scores"), name="probabilities")
    frozen.write_bytes(graph.bytes())
    succeed("build", frozen, *QUICK, "-O", "scores", "--shape", "batch=1:2:3")
    engine = tw.load(target)
    x = np.array([[1, -2, 3, -4]], np.float32)
    np.testing.assert_array_equal(engine({"x": x})["scores"], np.maximum(x, 0))
    assert engine.max_batch_size == 3
    assert "probabilities" in succeed("inspect", frozen)
    assert "probabilities" not in succeed("inspect", frozen, "-O", "scores")
    assert "no input 'y'; it has x" in fail("build", frozen, "--shape", "y=3x4")
    assert "no node 'score'" in fail("build", frozen, "-O", "score")


@pytest.mark.parametrize("which", ["model", "plan"])
def test_a_terminal_without_unicode_shows_what_it_can(plan, which):
    result = CliRunner(charset="ascii").invoke(app, ["inspect", LENET if which == "model" else str(plan)])
    assert result.exit_code == 0, result.output
    assert "?" in result.stdout


def test_an_interrupt_is_one_line(plan, monkeypatch):
    monkeypatch.setattr("tensorwright.cli.inspect.is_plan", lambda _: _interrupt("timings kept"))
    result = invoke("inspect", plan)
    assert (result.exit_code, result.stderr) == (130, "cancelled; timings kept\n")


def _interrupt(note):
    error = KeyboardInterrupt()
    error.add_note(note)
    raise error


def test_constants_take_the_place_of_inputs(tmp_path):
    graph = GraphMaker()
    graph.placeholder(None, "keep_prob")
    graph.add("RealDiv", graph.placeholder((2,)), "keep_prob", name="y")
    (tmp_path / "frozen.pb").write_bytes(graph.bytes())
    succeed("build", tmp_path / "frozen.pb", *QUICK, "--constant", "keep_prob=0.5")
    assert tw.load(tmp_path / "frozen.plan")(np.ones(2, np.float32))["y"].tolist() == [2, 2]
    assert "keep_prob" not in succeed("inspect", tmp_path / "frozen.pb", "--constant", "keep_prob=1", "--json")
    assert "or its value with constants" in fail("build", tmp_path / "frozen.pb", *QUICK)
    assert "a number, true or false" in fail("build", tmp_path / "frozen.pb", "--constant", "keep_prob=much")


def test_caffe_networks_are_built_and_inspected(tmp_path):
    weights = np.arange(8, dtype=np.float32).reshape(2, 4)
    product = "inner_product_param { num_output: 2 bias_term: false }"
    (tmp_path / "net.prototxt").write_bytes(
        definition(layer("InnerProduct", product, name="y", bottoms="x", tops="y"), x=(1, 4))
    )
    (tmp_path / "weights.caffemodel").write_bytes(model({"y": [weights]}))
    options = ("--weights", tmp_path / "weights.caffemodel", "--shape", "batch=1:2:3")
    succeed("build", tmp_path / "net.prototxt", *QUICK, *options)
    engine = tw.load(tmp_path / "net.plan")
    assert engine.max_batch_size == 3
    np.testing.assert_allclose(engine(np.ones((2, 4), np.float32))["y"], [weights.sum(1)] * 2)
    assert "8 parameters" in succeed("inspect", tmp_path / "net.prototxt", *options)
    assert "no input 'z'; it has x" in fail("build", tmp_path / "net.prototxt", "--shape", "z=3x4")
    succeed("run", tmp_path / "net.prototxt", *QUICK, *options)


def test_errors_are_one_line_without_a_traceback(plan, tmp_path, two_inputs):
    assert "missing.onnx: No such file" in fail("build", tmp_path / "missing.onnx")
    assert "is a plan already" in fail("build", plan)
    assert "expected NAME=D1xD2x" in fail("build", two_inputs, "--shape", "x=ax4")
    assert "no input 'q'; it has x, y" in fail("build", two_inputs, "--shape", "q=3x4")
    assert "expected a number of bytes" in fail("build", two_inputs, "--workspace", "lots")
    assert "is a plan, for which shapes are settled" in fail("run", plan, "--shape", "image=1x1x28x28")
    assert "expected one of onnxruntime" in fail("bench", plan, "--against", "nobody", "--duration", "0.01")
    assert "give the model it was built from with --model" in fail("bench", plan, "--against", "onnxruntime")
    assert "the engine has no input nothing" in fail("run", plan, "-i", f"nothing={_saved(tmp_path)}")
    assert "batch" in fail("run", plan, "--batch", "17")
    (tmp_path / "text.npy").write_text("no array")
    assert "expected arrays as numpy.save" in fail("run", plan, "-i", tmp_path / "text.npy")
    damaged = tmp_path / "damaged.plan"
    damaged.write_bytes(plan.read_bytes()[:-5])
    for command in ("run", "inspect", "bench"):
        assert "damaged.plan" in fail(command, damaged)


def _saved(folder):
    np.save(folder / "some.npy", np.ones(3, np.float32))
    return folder / "some.npy"


def test_debug_shows_the_traceback(tmp_path):
    result = invoke("inspect", tmp_path / "missing.onnx", "--debug")
    assert isinstance(result.exception, FileNotFoundError)


def test_a_defect_is_one_line_too(plan, monkeypatch):
    monkeypatch.setattr("tensorwright.cli.run.complete_inputs", lambda *_: 1 / 0)
    assert "this should not happen: ZeroDivisionError" in fail("run", plan)


def test_the_package_is_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "tensorwright", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == tw.__version__


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples")
    for path in sorted((DEMO / "digits").glob("*.pgm"))[:4]:
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_build_measures_ranges_on_a_folder_of_samples(tmp_path, samples):
    succeed("build", LENET, "-o", tmp_path / "a.plan", "--precision", "int8", "--calibration-data", samples,
            "--calibration-cache", tmp_path / "cache", "--image-mean", "0", "--image-std", "255", *QUICK)  # fmt: skip
    assert tw.load(tmp_path / "a.plan").report["calibration"]["batches"] == 4
    assert (tmp_path / "cache").read_text().startswith("TRT-8000-MinMaxCalibration\n")
    succeed("build", LENET, "-o", tmp_path / "b.plan", "--precision", "int8", "--dynamic-range", "pool1=3.5", *QUICK)
    assert tw.load(tmp_path / "b.plan").report["calibration"]["ranges"] == {"pool1": 3.5}
    assert "needs the ranges of tensors" in fail("build", LENET, "--precision", "int8", *QUICK)
    assert "expected numbers with commas" in fail("build", LENET, "--image-mean", "a", *QUICK)


def test_quantize_writes_a_model_that_reads_the_digits(tmp_path, samples, digit):
    printed = succeed("quantize", LENET, "--data", samples, "-o", tmp_path / "q.onnx", "-q", "--shape", "batch=1")
    assert "4 tensors of activations are quantised" in printed
    exact, found = (tw.build(path, level=0, timing_cache="")(digit) for path in (LENET, tmp_path / "q.onnx"))
    assert found["probabilities"].argmax() == 2
    assert 0 < np.abs(found["probabilities"] - exact["probabilities"]).max() < 0.02
    assert "expected one of Legacy" in fail("quantize", LENET, "--data", samples, "--algorithm", "x", "-q")
    assert "expected a folder" in fail("quantize", LENET, "--data", tmp_path / "none", "-q")


def test_compare_ranks_layers_and_writes_those_to_keep(tmp_path, samples):
    options = ("--data", samples, "--threads", "1", "-q", "--shape", "batch=1")
    kept, page, plot = tmp_path / "kept.json", tmp_path / "errors.html", tmp_path / "errors.png"
    printed = succeed(
        "compare", LENET, "--precision", "int8", *options, "--max-error", "0.0", "-o", kept,
        "--html", page, "--plot", plot,
    )  # fmt: skip
    layers = json.loads(kept.read_text())
    assert {"conv2": "fp32", "fc1": "fp32", "fc2": "fp32"}.items() <= layers.items()
    assert f"with all {len(layers)} layers in int8" in printed
    assert f"0 % off with {len(layers)} of them in float32" in printed
    assert page.read_text().count("<rect") == 2 * len(layers)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "expected a name that ends in .png" in fail("compare", LENET, "--precision", "bf16", *options, "--plot", "a")
    succeed("build", LENET, "-o", tmp_path / "a.plan", "--precision", "int8", "--calibration-data", samples,
            "--layer-precision", f"@{kept}", *QUICK)  # fmt: skip
    steps = tw.load(tmp_path / "a.plan").report["steps"]
    assert {step["precision"] for step in steps} == {"float32"}
    found = json.loads(succeed("compare", LENET, "--precision", "bf16", *options, "--json"))
    assert 0 < found["error"] < 0.01
    assert found["layers"][0]["alone"] == max(layer["alone"] for layer in found["layers"])
    assert "say --max-error" in fail("compare", LENET, "--precision", "bf16", *options, "-o", kept)
    assert "expected bf16, fp16 or int8" in fail("compare", LENET, "--precision", "int4", *options)
    kept.write_text("[1]")
    assert "expected JSON" in fail("build", LENET, "--layer-precision", f"@{kept}", *QUICK)


def test_plans_with_several_profiles(tmp_path):
    path = tmp_path / "several.plan"
    ranges = ("--optimization-profile", "batch=1", "--optimization-profile", "batch=2:4:8")
    succeed("build", LENET, "-o", path, *ranges, *QUICK)
    engine = tw.load(path)
    assert [engine.get_profile_shape(number, "image")[1][0] for number in range(2)] == [1, 4]
    printed = succeed("inspect", path, "--json", "--optimization-profile", "1")
    shown, _ = json.JSONDecoder().raw_decode(printed)  # A note beside it says what the others are.
    assert shown["symbols"] == {"batch": [2, 4, 8]}
    assert "counted from 0" in fail("inspect", path, "--optimization-profile", "2")
    assert "no variable dimension 'rows'" in fail("build", LENET, "--optimization-profile", "rows=1", *QUICK)
    assert "expected NAME=D or NAME=MIN:OPT:MAX" in fail("build", LENET, "--optimization-profile", "batch=1:2", *QUICK)
