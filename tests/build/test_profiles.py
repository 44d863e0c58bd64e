"""Plans with several profiles: each has code of its own over the same weights, and the runtime picks one."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

import tensorwright as tw
from graphs import binary, drawn, given, network
from plan.manifests import replaced, with_manifest
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import apply
from tensorwright.ops.matmul import MatMul
from tensorwright.plan.file import parse_plan, serialize_plan
from tensorwright.runtime.engine import Engine

PROFILES = [{"n": 1}, {"n": (2, 8, 16)}, {"n": (4, 16, 16)}]


def make(device="cpu", profiles=PROFILES):
    rng = np.random.default_rng(7)
    x, weights = given("x", tw.symbol("n", 1, 4, 32), 24), drawn(rng, 24, 40)
    graph = network(binary("add", binary("max", apply(MatMul(), x, weights), 0.0), 1.0))
    config = BuildConfig(level=0, threads=2, timing_cache="", device=device, profiles=profiles, check_plan=True)
    return build(graph, config), np.asarray(weights.op.weights.array, np.float64)


@pytest.fixture(scope="module")
def made():
    return make()


@pytest.fixture(scope="module")
def engine(made):
    return Engine(parse_plan(serialize_plan(made[0])))


def right(made, x):
    return np.maximum(x.astype(np.float64) @ made[1], 0) + 1


def profile_that_ran(context):
    return [calls._calls is not None for calls in context._profiles]


@pytest.mark.parametrize(("rows", "ran"), [(1, 0), (2, 1), (8, 1), (11, 1), (16, 2)])
def test_the_profile_runs_that_is_tuned_for_the_nearest_sizes(made, engine, rows, ran, rng):
    x = rng.standard_normal((rows, 24)).astype(np.float32)
    with engine.create_execution_context() as context:
        for _ in range(2):
            np.testing.assert_allclose(context(x)["out0"], right(made, x), rtol=1e-5, atol=1e-5)
        assert profile_that_ran(context) == [number == ran for number in range(3)]
        flat = context.run_buffers({"x": memoryview(x)})["out0"]
        np.testing.assert_array_equal(np.asarray(flat), context({"x": x})["out0"])


def test_addresses_run_the_profile_that_the_shapes_fit_or_that_is_chosen(made, engine, rng):
    x = rng.standard_normal((16, 24)).astype(np.float32)
    with engine.create_execution_context() as context:
        for rows, chosen in ((1, None), (16, None), (4, 2), (16, 1)):
            context.optimization_profile = chosen
            context.set_input_shape("x", (rows, 24))
            assert context.all_binding_shapes_specified
            assert context.get_binding_shape("out0") == (rows, 40)
            out = np.full((rows, 40), np.nan, np.float32)
            context.execute(None, [x.ctypes.data, out.ctypes.data])
            np.testing.assert_allclose(out, right(made, x[:rows]), rtol=1e-5, atol=1e-5)
        assert context.optimization_profile == 1
        with pytest.raises(tw.ExecutionError, match=r"'n' is 1, because .*; expected 2 to 16"):
            context(x[:1])
        with pytest.raises(tw.ExecutionError, match="has no profile 3; expected a number from 0 to 2"):
            context.optimization_profile = 3


def test_shapes_that_fit_no_profile_are_refused_with_the_reasons(engine):
    with pytest.raises(
        tw.ExecutionError, match=r"fit one of its 3 profiles.*profile 0: .*axis 0 must be 1.*profile 2: "
    ):
        engine(np.zeros((17, 24), np.float32))
    with pytest.raises(tw.ExecutionError, match="expected dtype float32, found float64"):
        engine(np.zeros((1, 24)))


def test_profiles_say_their_ranges(engine):
    assert engine.num_optimization_profiles == 3
    assert engine.get_profile_shape(0, "x") == ((1, 24), (1, 24), (1, 24))
    assert engine.get_profile_shape(1, 0) == ((2, 24), (8, 24), (16, 24))
    assert engine.get_binding_shape("x") == (-1, 24)
    assert [(s.name, s.min, s.max) for s in engine._plan.symbols] == [("n", 1, 16)]
    with pytest.raises(tw.ExecutionError, match="is no input"):
        engine.get_profile_shape(0, "out0")


def test_weights_are_held_once(made):
    alone, _ = make(profiles=[{"n": 1}])
    plan = made[0]
    assert plan.weights.nbytes < 2 * alone.weights.nbytes + 1
    read_back = parse_plan(serialize_plan(plan))
    assert serialize_plan(read_back) == serialize_plan(plan)
    assert all(profile.weights is read_back.weights for profile in read_back.profiles)
    read = [{part.place for step in p.steps for part in step.reads if part.base == "weights"} for p in plan.profiles]
    assert read[1] == read[2]


def test_devices_with_memory_of_their_own_hold_weights_once(rng):
    plan, weights = make("null")
    engine = Engine(plan)
    assert len({module.weights.address for module in engine._modules}) == 1
    for rows in (1, 3, 16):
        x = rng.standard_normal((rows, 24)).astype(np.float32)
        np.testing.assert_allclose(engine(x)["out0"], np.maximum(x @ weights, 0) + 1, rtol=1e-5, atol=1e-5)
    engine.close()


@pytest.mark.parametrize(
    ("profiles", "message"),
    [
        ([{"m": 1}], "no variable dimension 'm'; expected some of 'n'"),
        ([{}, {"n": 33}], r"profiles\[1\]\['n'\]: the network allows 1 to 32, 33 to 33 is asked for"),
        ([{"n": (3, 2, 4)}], "expected .min, opt, max. with 0 <= min <= opt <= max"),
        ([{"n": 1}] * 65, "expected at most 64, found 65"),
        ({"n": 1}, "expected several mappings from names"),
    ],
)
def test_profiles_that_do_not_fit_are_refused(profiles, message):
    with pytest.raises(tw.BuildError, match=message):
        make(profiles=profiles)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("profiles", 1, "code"), [0, 1 << 30], r"profiles\[1\].code"),
        (("profiles", 1, "arena_bytes"), 1 << 30, r"profiles\[1\].arena_bytes"),
        (("profiles", 1, "symbols"), [["n", 2, 8, 99]], r"profiles\[1\].symbols: expected ranges within"),
        (("profiles", 1, "symbols"), [], r"profiles\[1\].bindings\[0\].shape"),
        (("profiles", 1, "bindings", 0, "name"), "z", r"profiles\[1\].bindings: expected those of the plan"),
        (("entries",), {"run": 0}, "expected steps, indices and entries to be those of the profiles"),
        (("profiles", 2, "arena_bytes"), 1, "were not made for each other|arena"),
    ],
)
def test_files_whose_profiles_do_not_fit_the_plan_are_refused(made, path, value, message):
    content = with_manifest(serialize_plan(made[0]), lambda text: replaced(text, path, value))
    with pytest.raises(tw.PlanError, match=message):
        parse_plan(content)


def test_models_that_run_in_stages_have_no_caches_in_place():
    nodes = [helper.make_node("NonZero", ["x"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, [2, "found"])
    model = helper.make_model(helper.make_graph(nodes, "network", [x], [y]), ir_version=8)
    with pytest.raises(tw.BuildError, match="caches_in_place is for models that one plan can express"):
        tw.build(model, level=0, timing_cache="", caches_in_place=True)


def test_quantised_products_keep_their_ranges_in_all_profiles(rng):
    x = tw.symbol("n", 1, 4, 16)
    network = tw.Builder().create_network(1)
    given_x = network.add_input("x", tw.float32, (x, 32))
    weights = network.add_constant((32, 32), rng.standard_normal((32, 32)).astype(np.float32))
    op = tw.MatrixOperation.NONE
    product = network.add_matrix_multiply(given_x, op, weights.get_output(0), op)
    network.mark_output(product.get_output(0))
    given = [rng.standard_normal((4, 32)).astype(np.float32) for _ in range(3)]
    calibrator = tw.Calibrator([{"x": array} for array in given])
    profiles = [{"n": 1}, {"n": (2, 4, 16)}]
    options = {"level": 0, "precision": "int8", "calibrator": calibrator, "profiles": profiles, "timing_cache": ""}
    with tw.build(network, **options) as engine, tw.build(network, level=0, timing_cache="") as exact:
        for rows in (1, 4):
            found, expected = (next(iter(one(given[0][:rows]).values())) for one in (engine, exact))
            assert 0 < np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
