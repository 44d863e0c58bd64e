"""Models that no single plan can express: what is native, what is compiled again, what runs on the host."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, ValueInfoProto, helper
from onnx.reference import ReferenceEvaluator

import tensorwright as tw
from importers.onnx.models import Arrays, model_of, node
from tensorwright.base.errors import BuildError, ExecutionError, ImportFailure
from tensorwright.importers.failures import UnsupportedNodes
from tensorwright.tune.cpu.bench import CpuBench
from tensorwright.tune.machine import Machine


class Heard(tw.ILogger):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def log(self, severity: object, msg: str) -> None:
        if severity == tw.Severity.WARNING:
            self.warnings.append(msg)


def staged(model: ModelProto, logger: tw.ILogger | None = None) -> tw.StagedEngine:
    engine = tw.build(model, level=0, threads=2, timing_cache="", logger=logger or Heard())
    assert isinstance(engine, tw.StagedEngine)
    return engine


def assert_as_reference(engine: tw.StagedEngine, model: ModelProto, inputs: Arrays) -> None:
    expected = ReferenceEvaluator(model).run(None, dict(inputs))
    for _ in range(2):
        for actual, wanted in zip(engine(dict(inputs)).values(), expected, strict=True):
            assert actual.dtype == wanted.dtype
            np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=1e-6)


def test_a_program_is_compiled_for_each_value_of_an_operand(rng: np.random.Generator) -> None:
    x, axes = rng.standard_normal((2, 3, 4)).astype(np.float32), np.int64([1])
    nodes = [node("Exp", "x", "e"), node("ReduceSum", "e axes", "s"), node("Neg", "s", "y")]
    model = model_of(nodes, {"x": x, "axes": axes}, ["y"])
    with staged(model) as engine:
        for value in (1, 2, 1, -1):
            assert_as_reference(engine, model, {"x": x, "axes": np.int64([value])})
        assert len(engine.engines) == 3
        assert not engine.hosted


def test_what_follows_from_data_runs_on_the_host_between_native_programs(rng: np.random.Generator) -> None:
    nodes = [
        node("Relu", "x", "a"),
        node("NonZero", "a", "where", name="find"),
        node("Transpose", "where", "places", perm=[1, 0]),
        node("GatherND", "a places", "found"),
        node("Exp", "found", "y"),
        node("Shape", "found", "count"),
    ]
    x = rng.standard_normal((5, 4)).astype(np.float32)
    model = model_of(nodes, {"x": x}, ["y", "count"])
    with staged(model) as engine:
        for _ in range(3):
            assert_as_reference(engine, model, {"x": rng.standard_normal((5, 4)).astype(np.float32)})
        assert [found.operator for found in engine.hosted] == ["NonZero"]
        assert len(engine.engines) > 1


def test_every_native_program_has_a_dump_of_its_own(rng: np.random.Generator, tmp_path: Path) -> None:
    x, axes = rng.standard_normal((2, 3, 4)).astype(np.float32), np.int64([1])
    nodes = [node("Exp", "x", "e"), node("ReduceSum", "e axes", "s"), node("Neg", "s", "y")]
    model = model_of(nodes, {"x": x, "axes": axes}, ["y"])
    with tw.build(model, level=0, threads=2, timing_cache="", logger=Heard(), dump=tmp_path) as engine:
        for value in (1, 2):
            engine({"x": x, "axes": np.int64([value])})
        parts = sorted(path.name for path in tmp_path.iterdir())
        assert parts == [f"part-{number:02}" for number in range(1, len(engine.engines) + 1)]
    assert all((tmp_path / part / "00-imported.txt").exists() for part in parts)


def test_what_follows_changing_sizes_is_compiled_for_all_of_them(rng: np.random.Generator) -> None:
    """The size of what was found comes back as an operand: it is a symbol there, not a value to compile for."""
    nodes = [
        node("NonZero", "x", "where"),
        node("Transpose", "where", "places", perm=[1, 0]),
        node("GatherND", "x places", "found"),
        node("Shape", "found", "count"),
        node("Concat", "count two", "shape", axis=0),
        node("Unsqueeze", "found last", "column"),
        node("Expand", "column shape", "pairs"),
        node("Compress", "pairs keep", "kept", axis=1),
        node("Concat", "count one", "target", axis=0),
        node("Reshape", "kept target", "z"),
        node("Exp", "z", "y"),
    ]
    constants = {"two": np.int64([2]), "one": np.int64([1]), "last": np.int64([1])}
    types = {"x": (TensorProto.FLOAT, [6, 5]), "keep": (TensorProto.BOOL, [2])}
    model = model_of(nodes, types, ["y"], constants=constants)
    with staged(model) as engine:
        for count in (3, 9, 4, 12, 30, 5, 9):
            x = np.zeros(30, np.float32)
            x[rng.permutation(30)[:count]] = rng.uniform(0.5, 2, count)
            assert_as_reference(engine, model, {"x": x.reshape(6, 5), "keep": np.array([False, True])})
            if count == 4:
                compiled = len(engine.engines)
        assert len(engine.engines) <= compiled + 3


def test_declared_symbols_are_compiled_once(rng: np.random.Generator) -> None:
    nodes = [node("Exp", "x", "e"), node("ReduceSum", "e axes", "y")]
    model = model_of(nodes, {"x": (TensorProto.FLOAT, ["n", 3]), "axes": (TensorProto.INT64, [1])}, ["y"])
    with staged(model) as engine:
        for rows in (1, 2, 5, 16, 20):
            x = rng.standard_normal((rows, 3)).astype(np.float32)
            assert_as_reference(engine, model, {"x": x, "axes": np.int64([1])})
        assert len(engine.engines) == 2


def test_an_operand_that_the_network_computes_ends_a_stage(rng: np.random.Generator) -> None:
    nodes = [
        node("ReduceMax", "n", "largest", keepdims=0),
        node("Range", "zero largest one", "r"),
        node("Cast", "r", "f", to=TensorProto.FLOAT),
        node("Mul", "f scale", "y"),
    ]
    constants = {"zero": np.int64(0), "one": np.int64(1), "scale": np.float32(0.5)}
    model = model_of(nodes, {"n": (TensorProto.INT64, [100])}, ["y"], constants=constants)
    with staged(model) as engine:
        for largest in (7, 30):
            n = rng.integers(0, largest, 100)
            n[5] = largest
            assert_as_reference(engine, model, {"n": n})


def test_branches_are_taken_at_run_time(rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 3)).astype(np.float32)

    def branch(operator: str) -> object:
        return helper.make_graph([node(operator, "a", "b")], operator, [], [ValueInfoProto(name="b")])

    choose = node("If", "positive", "y", then_branch=branch("Sqrt"), else_branch=branch("Neg"))
    nodes = [
        node("Identity", "x", "a"),
        node("ReduceSum", "x", "total", keepdims=0),
        node("Greater", "total zero", "positive"),
        choose,
    ]
    model = model_of(nodes, {"x": x}, ["y"], constants={"zero": np.float32(0)})
    with staged(model) as engine:
        for sign in (1, -1):
            assert_as_reference(engine, model, {"x": (sign * np.abs(x)).astype(np.float32)})
        assert not engine.hosted


def test_loops_whose_end_follows_from_data_run_on_the_host(rng: np.random.Generator) -> None:
    inner = [node("Mul", "v two", "w"), node("ReduceMax", "w", "m", keepdims=0), node("Less", "m limit", "on")]
    infos = [[ValueInfoProto(name=name) for name in text.split()] for text in ("i c v", "on w")]
    loop = node("Loop", "_ yes x", "y", body=helper.make_graph(inner, "body", *infos))
    constants = {"yes": np.array(True), "two": np.float32(2), "limit": np.float32(50)}
    model = model_of([loop, node("Neg", "y", "z")], {"x": (TensorProto.FLOAT, [4])}, ["z"], constants=constants)
    with staged(model) as engine:
        assert_as_reference(engine, model, {"x": rng.uniform(0.5, 2, 4).astype(np.float32)})
        assert [found.operator for found in engine.hosted] == ["Loop"]


def loop_body(nodes: list[object], inputs: str, outputs: str) -> object:
    infos = [[ValueInfoProto(name=name) for name in text.split()] for text in (inputs, outputs)]
    return helper.make_graph(nodes, "body", *infos)


def test_bodies_of_loops_are_compiled_once(rng: np.random.Generator) -> None:
    """What a loop carries grows; the weights are constants of the body; the bias is taken from around it."""
    inner = [
        node("MatMul", "v w", "m"),
        node("Add", "m bias", "n"),
        node("Tanh", "n", "next"),
        node("Concat", "all next", "more", axis=0),
        node("Identity", "c", "on"),
    ]
    loop = node("Loop", "trips yes x x", "last grown each", body=loop_body(inner, "i c v all", "on next more m"))
    w = rng.standard_normal((4, 4)).astype(np.float32)
    types = {"x": (TensorProto.FLOAT, [2, 4]), "trips": (TensorProto.INT64, []), "b": (TensorProto.FLOAT, [4])}
    nodes = [node("Neg", "b", "bias"), loop, node("Exp", "last", "y")]
    model = model_of(nodes, types, ["y", "grown", "each"], constants={"w": w, "yes": np.array(True)})
    x, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 4), (4,)))
    with staged(model) as engine:
        for trips in (1, 7, 3):
            found = engine({"x": x, "trips": np.asarray(trips), "b": b})
            states, products = [x], []
            for _ in range(trips):
                products.append(states[-1] @ w)
                states.append(np.tanh(products[-1] - b))
            np.testing.assert_allclose(found["y"], np.exp(states[-1]), rtol=1e-5)
            np.testing.assert_allclose(found["grown"], np.concatenate([x, *states[1:]]), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(found["each"], np.stack(products), rtol=1e-5, atol=1e-6)
        assert len(engine.engines) <= 6
        with pytest.raises(ExecutionError, match="a loop of no rounds"):
            engine({"x": x, "trips": np.asarray(np.int64(0)), "b": b})


def test_long_scans_run_their_body_position_by_position(rng: np.random.Generator) -> None:
    inner = [
        node("Mul", "state half", "kept"),
        node("Add", "kept part", "sum"),
        node("Sub", "sum other", "next"),
        node("Neg", "next", "seen"),
    ]
    scan = node(
        "Scan", "start x z", "last each", body=loop_body(inner, "state part other", "next seen"), num_scan_inputs=2,
        scan_input_axes=[1, 0], scan_input_directions=[1, 0], scan_output_axes=[1], scan_output_directions=[1],
    )  # fmt: skip
    x, z = rng.standard_normal((3, 300)).astype(np.float32), rng.standard_normal(300).astype(np.float32)
    constants = {"start": np.float32([1, 2, 3]), "half": np.float32(0.5)}
    model = model_of([scan], {"x": x, "z": z}, ["last", "each"], constants=constants)
    with staged(model) as engine:
        found = engine({"x": x, "z": z})
        assert len(engine.engines) == 1
    state, seen = constants["start"], []
    for position in range(300):
        state = state * np.float32(0.5) + x[:, 299 - position] - z[position]
        seen.append(-state)
    np.testing.assert_allclose(found["last"], state, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["each"], np.stack(seen[::-1], 1), rtol=1e-4, atol=1e-6)


def test_functions_of_a_model_are_taken_apart(rng: np.random.Generator) -> None:
    opsets, domain = [helper.make_opsetid("", 20)], "mine"
    inner = [node("Relu", "a", "b"), node("NonZero", "b", "c"), node("Neg", "c", "d")]
    function = helper.make_function(domain, "Find", ["a"], ["d"], inner, opsets)
    nodes = [node("Find", "x", "f", domain=domain), node("Add", "f f", "y")]
    model = model_of(nodes, {"x": (1, [3, 4])}, ["y"], domains={domain: 1}, functions=[function])
    with staged(model) as engine:
        assert_as_reference(engine, model, {"x": rng.standard_normal((3, 4)).astype(np.float32)})
        assert [found.operator for found in engine.hosted] == ["NonZero"]


def test_branches_with_nodes_on_the_host(rng: np.random.Generator) -> None:
    then = loop_body([node("NonZero", "a", "n"), node("Cast", "n", "b", to=TensorProto.FLOAT)], "", "b")
    otherwise = loop_body([node("Neg", "a", "b")], "", "b")
    nodes = [node("Relu", "x", "a"), node("If", "c", "y", then_branch=then, else_branch=otherwise)]
    types = {"x": (TensorProto.FLOAT, [2, 3]), "c": (TensorProto.BOOL, [])}
    model = model_of(nodes, types, ["y"])
    with staged(model) as engine:
        for condition in (True, False, True):
            x = rng.standard_normal((2, 3)).astype(np.float32)
            assert_as_reference(engine, model, {"x": x, "c": np.array(condition)})


def test_operands_with_many_values_are_left_to_the_host(rng: np.random.Generator) -> None:
    model = model_of([node("Trilu", "x k", "t"), node("Exp", "t", "y")], {"x": (1, [9, 9]), "k": (7, [])}, ["y"])
    with staged(model) as engine:
        for k in range(-6, 8):
            assert_as_reference(engine, model, {"x": rng.standard_normal((9, 9)).astype(np.float32), "k": np.array(k)})
        assert len(engine.engines) == 9
        assert [found.operator for found in engine.hosted] == ["Trilu"]


def test_strings_sequences_and_absent_optionals_pass_the_boundary(rng: np.random.Generator) -> None:
    words = model_of([node("StringConcat", "a b", "y")], {"a": (TensorProto.STRING, [2]), "b": (8, [2])}, ["y"])
    with staged(words) as engine:
        given = {"a": np.array(["x", "y"], object), "b": np.array(["1", "2"], object)}
        assert list(engine(given)["y"]) == ["x1", "y2"]
    tensors = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    joined = model_of([node("ConcatFromSequence", "s", "c", axis=0), node("Neg", "c", "y")], {}, ["y"])
    joined.graph.input.append(tensors)
    parts = [rng.standard_normal((rows, 2)).astype(np.float32) for rows in (1, 3)]
    with staged(joined) as engine:
        np.testing.assert_array_equal(engine({"s": parts})["y"], -np.concatenate(parts))
        assert len(engine.engines) == 1


def test_constants_and_inputs_are_outputs(rng: np.random.Generator) -> None:
    x, k = rng.standard_normal((2, 3)).astype(np.float32), np.int64([-1])
    nodes = [node("Unsqueeze", "x k", "y"), node("Identity", "x", "z"), node("Shape", "y", "s")]
    model = model_of(nodes, {"x": x, "k": k}, ["y", "z", "s", "w"], constants={"w": np.float32([4])})
    with staged(model) as engine:
        assert_as_reference(engine, model, {"x": x, "k": k})


def test_one_warning_names_the_nodes_and_strict_refuses() -> None:
    model = model_of([node("ReduceSum", "x axes", "y", name="sum")], {"x": (1, [2, 3]), "axes": (7, [1])}, ["y"])
    heard = Heard()
    with staged(model, heard) as engine:
        engine({"x": np.ones((2, 3), np.float32), "axes": np.int64([0])})
    assert len(heard.warnings) == 1
    assert "ReduceSum" in heard.warnings[0]
    assert "'sum'" in heard.warnings[0]
    assert "Export the model without" not in heard.warnings[0]
    with pytest.raises(UnsupportedNodes, match="axes has to be known"):
        tw.build(model, level=0, strict=True)


def test_wrong_models_and_inputs_are_refused(rng: np.random.Generator) -> None:
    model = model_of([node("ReduceSum", "x axes", "y")], {"x": (1, [2, 3]), "axes": (7, [1])}, ["y"])
    x, axes = rng.standard_normal((2, 3)).astype(np.float32), np.int64([0])
    with staged(model) as engine:
        with pytest.raises(ExecutionError, match="expected a dict with the inputs 'x', 'axes', found 'x'"):
            engine({"x": x})
        with pytest.raises(ExecutionError, match=r"input 'x' .*expected float32\[2×3\], found float64"):
            engine({"x": x.astype(np.float64), "axes": axes})
        with pytest.raises(ExecutionError, match=r"input 'x' .*found \[3, 2\]"):
            engine({"x": x.T, "axes": axes})
        with pytest.raises(ExecutionError, match="axes: 5 is outside"):
            engine({"x": x, "axes": np.int64([5])})
        with pytest.raises(BuildError, match="cannot be saved as a plan"):
            engine.save("engine.plan")
    with pytest.raises(ExecutionError, match="is closed"):
        engine({"x": x, "axes": axes})
    unknown = model_of([node("Mystery", "x", "y", domain="com.example")], {"x": x}, ["y"], domains={"com.example": 1})
    with pytest.raises(ExecutionError, match=r"com\.example\.Mystery.*no such operator is supported"):
        staged(unknown)({"x": x})
    with pytest.raises(ImportFailure, match="do not broadcast"):
        staged(model_of([node("Add", "x w", "y")], {"x": x}, ["y"], constants={"w": np.float32([1, 2])}))


def test_every_native_program_has_the_profiles_of_its_dimensions(rng: np.random.Generator) -> None:
    nodes = [
        node("MatMul", "x w", "a"),
        node("Relu", "a", "b"),
        node("NonZero", "b", "where"),
        node("Shape", "where", "count"),
        node("ReduceSum", "a axes", "s", keepdims=0),
        node("Exp", "s", "y"),
    ]
    constants = {"w": rng.standard_normal((4, 6)).astype(np.float32)}
    inputs = {"x": (TensorProto.FLOAT, ("batch", 4)), "axes": (TensorProto.INT64, (1,))}
    model = model_of(nodes, inputs, ["y", "count"], constants=constants)
    options = {"level": 0, "threads": 2, "timing_cache": "", "logger": Heard()}
    profiles = [{"batch": 1}, {"batch": (2, 4, 8)}]
    with tw.build(model, profiles=profiles, **options) as engine:
        for batch in (1, 3, 8, 1):
            x = rng.standard_normal((batch, 4)).astype(np.float32)
            assert_as_reference(engine, model, {"x": x, "axes": np.int64([1])})
        assert [one.num_optimization_profiles for one in engine.engines] == [2, 2]
        with pytest.raises(ExecutionError, match="batch"):
            engine({"x": np.ones((9, 4), np.float32), "axes": np.int64([1])})
    with pytest.raises(BuildError, match="no variable dimension 'rows'; expected some of 'batch'"):
        tw.build(model, profiles=[{"rows": 1}], **options)
    with pytest.raises(BuildError, match="the network allows 1 to 16, 1 to 99 is asked for"):
        tw.build(model, profiles=[{"batch": (1, 2, 99)}], **options)


def test_the_machine_is_measured_once_for_all_parts(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    found, measure = list[Machine](), CpuBench.machine

    def measured(bench: CpuBench) -> Machine:
        found.append(measure(bench))
        return found[-1]

    monkeypatch.setattr(CpuBench, "machine", measured)
    x, axes = rng.standard_normal((2, 3, 4)).astype(np.float32), np.int64([1])
    nodes = [node("Exp", "x", "e"), node("ReduceSum", "e axes", "s"), node("Neg", "s", "y")]
    model = model_of(nodes, {"x": x, "axes": axes}, ["y"])
    with tw.build(model, level=1, threads=1, timing_cache="", logger=Heard()) as engine:
        for value in (1, 2):
            assert_as_reference(engine, model, {"x": x, "axes": np.int64([value])})
        assert len(engine.engines) == 2
    assert len(found) == 1
