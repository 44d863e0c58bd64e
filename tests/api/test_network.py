"""Errors that name the user's call, editing, symbolic dimensions."""

from __future__ import annotations

import re

import numpy as np
import pytest

import tensorwright as tw
from tensorwright.graph.evaluate import evaluate_graph


@pytest.fixture
def network():
    return tw.NetworkDefinition()


@pytest.fixture
def image(network):
    return network.add_input("image", tw.float32, (2, 3, 8, 8))


def failing(call, *patterns, error=tw.NetworkError):
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    for pattern in patterns:
        assert re.search(pattern, message), message
    return message


def test_wrong_weights_are_reported_by_the_call_that_gave_them(network, image):
    add = network.add_convolution
    message = failing(
        lambda: add(image, 20, (5, 5), np.ones(500), name="conv1"), "^add_convolution 'conv1': weights have"
    )
    assert "weights have 500 values, 20×3×5×5 = 1500 needed" in message
    assert "added at" not in message
    failing(lambda: add(image, 4, (3, 3), np.ones(108), np.ones(5)), "bias has 5 values, 4 needed")
    failing(lambda: network.add_fully_connected(image, 5, np.ones(7)), "weights have 7 values, 5×192 = 960 needed")
    failing(lambda: network.add_constant((2, 3), np.ones(5)), "5 values, 2×3 = 6 needed")
    scale = network.add_scale
    failing(
        lambda: scale(image, tw.ScaleMode.CHANNEL, scale=np.ones(5)), "^add_scale.*scale: weights have 5 values.*= 3"
    )
    assert network.num_layers == 0


def test_missing_groups_are_reported_with_the_fix(network, image):
    grouped = network.add_input("grouped", tw.float32, (1, 8, 5, 5))
    layer = network.add_convolution(grouped, 8, 3, np.ones(8 * 1 * 9), name="depthwise")
    pattern = "add_convolution 'depthwise': weights have 72 values, 8×8×3×3 = 576 needed.*num_groups = 8"
    failing(lambda: layer.get_output().shape, pattern, r"added at .*test_network\.py:\d+")
    layer.num_groups = 8
    assert layer.get_output().shape == (1, 8, 3, 3)


def test_shapes_that_a_property_repairs_are_not_refused_too_early(network):
    small = network.add_input("small", tw.float32, (1, 1, 3, 3))
    layer = network.add_convolution(small, 1, 5, np.ones(25))
    failing(lambda: network.add_activation(layer.get_output(), tw.ActivationType.RELU), "add_convolution", "exceeds")
    layer.padding = 1
    assert layer.get_output().shape == (1, 1, 1, 1)
    network.add_activation(layer.get_output(), tw.ActivationType.RELU)


@pytest.mark.parametrize(
    ("call", "pattern"),
    [
        (lambda n, x: n.add_activation(x, "relu"), "add_activation .*type: expected a tensorwright.ActivationType"),
        (lambda n, x: n.add_softmax("image"), "add_softmax .*expected a tensor, found str"),
        (lambda n, x: n.add_softmax(n.add_identity(x)), r"found IdentityLayer; pass layer.get_output\(0\)"),
        (lambda n, x: n.add_pooling(x, tw.PoolingType.MAX, (0, 2)), "add_pooling .*window_size: expected integers"),
        (lambda n, x: n.add_convolution(x, 0, 3, np.ones(9)), "num_output_maps: expected an integer of at least 1"),
        (lambda n, x: n.add_convolution(x, 1, 3, np.array(["a"])), "kernel: expected an array of numbers"),
        (lambda n, x: n.add_convolution(x, 1, 3, ()), "kernel: expected weights, found none"),
        (lambda n, x: n.add_reduce(x, tw.ReduceOperation.SUM, 0, True), "axes: expected a bit mask of some of 4 axes"),
        (lambda n, x: n.add_reduce(x, tw.ReduceOperation.SUM, 16, True), r"found 16 \(axes \[4\]\)"),
        (lambda n, x: n.add_topk(x, tw.TopKOperation.MAX, 4, 2), "add_topk .*k: expected 0 to 3"),
        (lambda n, x: n.add_topk(x, tw.TopKOperation.MAX, 1, 3), "expected 1 << axis for one axis"),
        (lambda n, x: n.add_slice(x, (0, 0), (1, 1), (1, 1)), "start: expected 4 values"),
        (lambda n, x: n.add_slice(x, (0, 0, 0, 5), (1, 1, 1, 4), (1,) * 4), "add_slice .*not all inside"),
        (lambda n, x: n.add_concatenation([]), "expected at least one input"),
        (lambda n, x: n.add_cast(x, "float31"), "to_type: expected one of float64"),
        (lambda n, x: n.add_input("image", tw.float32, (1,)), "add_input 'image': the network has an input of this"),
        (lambda n, x: n.add_input("", tw.float32, (1,)), "expected a string that is not empty"),
        (lambda n, x: n.add_input("y", tw.float32, (1, -2)), "add_input 'y': shape: expected integers of at least 0"),
        (lambda n, x: n.add_input("y", complex, (1,)), "add_input 'y': dtype: expected one of float64"),
        (lambda n, x: n.mark_output(n.add_identity(x)), r"mark_output: expected a tensor.*pass layer.get_output\(0\)"),
        (lambda n, x: n.unmark_output(x), "tensor 'image' is no output"),
        (lambda n, x: n.get_layer(3), "layer: expected a number"),
        (lambda n, x: n.add_identity(x).get_output(1), "add_identity .*output: expected a number from 0 to 0, found 1"),
        (lambda n, x: tw.NetworkDefinition().add_identity(x), "'image' belongs to another network"),
        (lambda n, x: n.to_graph(), "no outputs; call network.mark_output"),
        (lambda n, x: n.add_elementwise(x, n.add_constant((3,), np.ones(3)).get_output(), tw.ElementWiseOperation.SUM),
         "same number of dimensions"),
    ],
)  # fmt: skip
def test_mistakes_are_reported_at_the_call(network, image, call, pattern):
    failing(lambda: call(network, image), pattern)


def test_a_wrong_property_names_the_layer_and_keeps_its_value(network, image):
    layer = network.add_convolution(image, 2, 3, np.ones(54), name="c")
    failing(
        lambda: setattr(layer, "stride", (1, 2, 3)),
        "add_convolution 'c': stride: expected 2 integers of at least 1, found 3",
    )
    failing(
        lambda: setattr(layer, "padding", -1), "add_convolution 'c': pre_padding: expected 2 integers of at least 0"
    )
    failing(lambda: setattr(layer, "padding_mode", 1), "expected a tensorwright.PaddingMode")
    assert (layer.stride, layer.padding_nd, layer.kernel_size) == ((1, 1), (0, 0), (3, 3))
    layer.post_padding = (1, 0)
    failing(lambda: layer.padding, "it differs before")


def test_properties_change_the_shapes_of_everything_after(network, image):
    convolution = network.add_convolution(image, 4, 3, np.ones(108))
    pool = network.add_pooling(convolution.get_output(), tw.PoolingType.MAX, (2, 2))
    assert pool.get_output().shape == (2, 4, 5, 5)
    convolution.padding = (1, 1)
    assert pool.get_output().shape == (2, 4, 7, 7)
    pool.stride_nd = (2, 2)
    assert pool.get_output().shape == (2, 4, 4, 4)
    convolution.num_output_maps, convolution.kernel = 2, np.ones(54)
    assert pool.get_output().shape == (2, 2, 4, 4)


def test_layers_can_be_listed_renamed_and_rewired(network, image):
    first = network.add_activation(image, tw.ActivationType.RELU)
    second = network.add_unary(first.get_output(), tw.UnaryOperation.NEG, name="negate")
    assert [layer.type for layer in network] == [tw.LayerType.ACTIVATION, tw.LayerType.UNARY]
    assert (network.num_layers, len(network), network[1], network.get_layer(0)) == (2, 2, second, first)
    assert (second.num_inputs, second.get_input(0)) == (1, first.get_output())
    assert first.get_output().name == "activation_0_output"
    first.name = "rectify"
    assert first.get_output().name == "rectify_output"
    assert network.find_tensor("rectify_output") is first.get_output()
    second.set_input(0, image)
    network.mark_output(second.get_output())
    graph = network.to_graph()
    assert [value.name for value in graph.order()] == ["image", "negate"]


def test_a_cycle_is_reported(network, image):
    first = network.add_identity(image, name="a")
    second = network.add_identity(first.get_output(), name="b")
    first.set_input(0, second.get_output())
    failing(lambda: second.get_output().shape, "add_identity '[ab]': its output leads back to its input")


def test_unused_layers_vanish_and_outputs_stay(network, image):
    relu = network.add_activation(image, tw.ActivationType.RELU)
    network.add_unary(relu.get_output(), tw.UnaryOperation.EXP, name="unused")
    last = network.add_unary(relu.get_output(), tw.UnaryOperation.NEG)
    network.mark_output(last.get_output())
    network.mark_output(relu.get_output())
    graph = network.to_graph()
    assert [name for name, _ in graph.outputs] == ["unary_0_output", "activation_0_output"]
    assert "unused" not in [value.name for value in graph.order()]
    assert (network.num_outputs, network.get_output(1), relu.get_output().is_network_output) == (
        2,
        relu.get_output(),
        True,
    )
    network.unmark_output(relu.get_output())
    assert [name for name, _ in network.to_graph().outputs] == ["unary_0_output"]


def test_outputs_need_different_names_and_are_marked_once(network, image):
    one, two = network.add_identity(image), network.add_identity(image)
    one.get_output().name = two.get_output().name = "same"
    network.mark_output(one.get_output())
    failing(lambda: network.mark_output(one.get_output()), "is an output already")
    network.mark_output(two.get_output())
    failing(network.to_graph, "several outputs named 'same'; set tensor.name")


def test_tensors_can_be_removed_when_nothing_reads_them(network, image):
    relu = network.add_activation(image, tw.ActivationType.RELU)
    failing(lambda: network.remove_tensor(image), "'image' is read by 'activation_0'")
    network.remove_tensor(relu.get_output())
    network.remove_tensor(image)
    assert (network.num_layers, network.num_inputs) == (0, 0)


def test_weights_are_copied(network, image, rng):
    kernel = rng.normal(size=(2, 3, 1, 1)).astype(np.float32)
    before = kernel.copy()
    layer = network.add_convolution(image, 2, 1, kernel)
    network.mark_output(layer.get_output())
    kernel[:] = 7
    x = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
    (y,) = evaluate_graph(network.to_graph(), {"image": x}).values()
    np.testing.assert_allclose(y, np.einsum("oc,nchw->nohw", before[:, :, 0, 0], x), rtol=1e-5, atol=1e-5)


def test_weights_may_have_any_floating_type_and_shape(network, image):
    lists = [[0.5] * 3, [0.25] * 3]
    layer = network.add_convolution(image, 2, 1, tw.Weights(lists), tw.Weights())
    assert layer.bias is None
    assert layer.get_output().dtype == tw.float32
    failing(lambda: network.add_convolution(image, 2, 1, np.ones(6, np.int64)).get_output().shape, "weights are int64")


def test_the_graph_does_not_change_when_the_network_does(network, image):
    layer = network.add_pooling(image, tw.PoolingType.MAX, 2)
    network.mark_output(layer.get_output())
    graph = network.to_graph()
    layer.stride = 2
    assert graph.outputs[0][1].type.shape == (2, 3, 7, 7)
    assert network.to_graph().outputs[0][1].type.shape == (2, 3, 4, 4)


def test_symbols_go_through_layers():
    network = tw.NetworkDefinition()
    length = tw.symbol("length", 1, 8, 64)
    x = network.add_input("x", tw.float32, (length, 6, 2))
    assert x.shape == (-1, 6, 2)
    assert x.dims == (length, 6, 2)
    shuffle = network.add_shuffle(x)
    shuffle.reshape_dims = (-1, 3)
    assert shuffle.get_output().dims == (length * 4, 3)
    y = network.add_input("y", "float32", (tw.Symbol("length", 1, 8, 64), 6, 2))
    both = network.add_concatenation([x, y])
    both.axis = 0
    assert both.get_output().dims == (2 * length, 6, 2)
    with pytest.raises(tw.NetworkError, match=r"'length' has the range \(min 1, opt 2, max 4\) here"):
        network.add_input("z", tw.float32, (tw.symbol("length", 1, 2, 4),))


def batch_network(**options):
    network = tw.NetworkDefinition(**options)
    x = network.add_input("x", tw.float32, (-1, 4) if options.get("explicit_batch", True) else (4,))
    network.mark_output(network.add_unary(x, tw.UnaryOperation.EXP).get_output())
    return network


def profile(minimum, optimum, maximum):
    found = tw.OptimizationProfile()
    found.set_shape("x", minimum, optimum, maximum)
    return found.ranges


def ranges(graph):
    return [(s.name, s.min, s.opt, s.max) for s in graph.symbols()]


def test_unknown_dimensions_get_their_range_when_the_build_starts():
    network = batch_network()
    assert network.get_input(0).shape == (-1, 4)
    assert ranges(network.to_graph()) == [("x_0", 1, 1, 16)]
    assert [s.name for s in network.assumed_ranges()] == ["x_0"]
    assert ranges(network.to_graph(max_batch_size=8)) == [("x_0", 1, 8, 8)]
    assert network.assumed_ranges(max_batch_size=8) == ()
    assert ranges(network.to_graph(profile((2, 4), (3, 4), (1000, 4)))) == [("x_0", 2, 3, 1000)]
    assert network.assumed_ranges(profile((2, 4), (3, 4), (1000, 4))) == ()
    assert ranges(network.to_graph(profile((5, 4), (5, 4), (5, 4)))) == []
    assert network.to_graph(profile((5, 4), (5, 4), (5, 4))).outputs[0][1].type.shape == (5, 4)


def test_profiles_must_fit_the_network():
    network = batch_network()
    failing(lambda: network.to_graph(profile((1, 4), (1, 4), (1, 5))), "'x', axis 1: the network fixes it to 4")
    failing(lambda: network.to_graph(profile((1,), (1,), (1,))), "expected 2 dimensions")
    failing(
        lambda: network.to_graph(profile((3, 4), (2, 4), (5, 4))), r"expected 0 <= min <= opt <= max, found \(3, 2, 5\)"
    )
    other = tw.OptimizationProfile()
    other.set_shape("y", (1,), (1,), (1,))
    failing(lambda: network.to_graph(other.ranges), "has no input 'y'; it has 'x'")
    narrow = tw.NetworkDefinition()
    narrow.mark_output(
        narrow.add_identity(narrow.add_input("x", tw.float32, (tw.symbol("n", 2, 4, 8), 4))).get_output()
    )
    failing(
        lambda: narrow.to_graph(profile((1, 4), (4, 4), (8, 4))), "'n' can be from 2 to 8 by .*, 1 to 8 is asked for"
    )


def test_the_implicit_batch_is_a_symbol_in_front():
    network = batch_network(explicit_batch=False)
    assert network.get_input(0).shape == (4,)
    assert network.batch_symbol == "batch"
    assert ranges(network.to_graph(max_batch_size=8)) == [("batch", 1, 8, 8)]
    assert ranges(network.to_graph()) == [("batch", 1, 1, 1)]
    assert network.assumed_ranges() == ()


def test_inputs_can_be_given_another_shape_and_type():
    network = tw.NetworkDefinition()
    length = tw.symbol("length", 1, 8, 64)
    x = network.add_input("x", tw.float32, (length, 6))
    shuffle = network.add_shuffle(x)
    shuffle.reshape_dims = (3, 2 * length)
    network.mark_output(shuffle.get_output())
    x.shape = (5, 6)
    assert shuffle.get_output().shape == (3, 10)
    x.dtype = np.float64
    assert shuffle.get_output().dtype == tw.float64
    failing(lambda: setattr(shuffle.get_output(), "shape", (1,)), "only inputs of the network")
    x.name = "renamed"
    assert [name for name, _ in network.to_graph().inputs] == ["renamed"]


def test_deep_networks_need_no_recursion():
    network = tw.NetworkDefinition()
    tensor = x = network.add_input("x", tw.float32, (2,))
    for _ in range(3000):
        tensor = network.add_unary(tensor, tw.UnaryOperation.NEG).get_output()
    x.shape = (3,)
    assert tensor.shape == (3,)
