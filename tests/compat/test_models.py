"""Models through `parsers`, `utils` and `lite`."""

from __future__ import annotations

import struct

import numpy as np
import onnxruntime
import pytest

import caffe_models
from compat.lenet import DEMO, DIGITS, frozen_lenet, image, label
from tensorwright.base.errors import ExecutionError, ImportFailure
from tensorwright.compat import uff
from tensorwright.compat.pycuda import driver as cuda
from tensorwright.compat.tensorrt import infer, lite, parsers, utils
from uff_models import ModelMaker

BATCH = 4


@pytest.fixture(scope="module")
def logger():
    return infer.ConsoleLogger(infer.LogSeverity.ERROR)


@pytest.fixture(scope="module")
def uff_model():
    return uff.from_tensorflow(frozen_lenet(), ["fc2/Relu"], quiet=True)


def uff_parser():
    parser = parsers.uffparser.create_uff_parser()
    parser.register_input("Placeholder", (1, 28, 28), 0)
    parser.register_output("fc2/Relu")
    return parser


@pytest.fixture
def caffe_files(tmp_path, rng):
    text = caffe_models.definition(
        caffe_models.layer("InnerProduct", "inner_product_param { num_output: 3 }"), data=(1, 2, 3, 3)
    )
    blobs = {"out": [rng.standard_normal((3, 18)).astype(np.float32), rng.standard_normal(3).astype(np.float32)]}
    (tmp_path / "net.prototxt").write_bytes(text)
    (tmp_path / "net.caffemodel").write_bytes(caffe_models.model(blobs))
    return tmp_path / "net.prototxt", tmp_path / "net.caffemodel", blobs["out"]


def execute(engine, array):
    context = engine.create_execution_context()
    output = np.full((len(array), *engine.get_binding_dimensions(1)), np.nan, np.float32)
    source, target = cuda.to_device(array), cuda.mem_alloc(output.nbytes)
    context.execute(len(array), [source, target])
    cuda.memcpy_dtoh(output, target)
    return output


def test_uff_in_memory_and_in_a_file(logger, uff_model, tmp_path):
    (tmp_path / "lenet.uff").write_bytes(uff_model)
    images = np.stack([image(file) for file in DIGITS[:BATCH]])
    engines = [
        utils.uff_to_trt_engine(logger, uff_model, uff_parser(), BATCH, 1 << 20, infer.DataType.FLOAT),
        utils.uff_file_to_trt_engine(logger, tmp_path / "lenet.uff", uff_parser(), BATCH, 1 << 20, "FP32"),
    ]
    network = infer.create_infer_builder(logger).create_network()
    assert uff_parser().parse_from_file(str(tmp_path / "lenet.uff"), network, infer.DataType_kFLOAT)
    engines.append(utils.trt_network_to_trt_engine(logger, network, BATCH, 1 << 20, infer.DataType.FLOAT))
    for engine in engines:
        found = execute(engine, images).reshape(BATCH, -1)
        assert list(found.argmax(1)) == [label(file) for file in DIGITS[:BATCH]]


def test_onnx_through_its_own_parser(logger):
    config = parsers.onnxparser.create_onnxconfig()
    config.set_model_file_name(DEMO / "lenet.onnx")
    config.set_model_dtype(infer.DataType.FLOAT)
    config.set_print_layer_info(True)
    config.add_verbosity()
    config.report_parsing_info()
    parser = parsers.onnxparser.create_onnxparser(config)
    assert parser.parse(config.get_model_file_name(), config.get_model_dtype())
    parser.report_parsing_info()
    assert parser.convert_to_trtnetwork()
    engine = utils.trt_network_to_trt_engine(logger, parser.get_trtnetwork(), BATCH, 1 << 20, infer.DataType.FLOAT)
    assert engine.get_binding_dimensions(0) == (1, 28, 28)
    images = np.stack([image(file) for file in DIGITS[:BATCH]])
    session = onnxruntime.InferenceSession(DEMO / "lenet.onnx")
    np.testing.assert_allclose(execute(engine, images), session.run(None, {"image": images})[0], atol=1e-5)
    with lite.Engine(framework="onnx", path=DEMO / "lenet.onnx", max_batch_size=BATCH).engine as again:
        np.testing.assert_allclose(execute(again, images), session.run(None, {"image": images})[0], atol=1e-5)


def test_caffe_in_one_call(logger, caffe_files, rng):
    deploy, model, (weights, bias) = caffe_files
    engine = utils.caffe_to_trt_engine(logger, deploy, model, 2, 1 << 20, ["out"], infer.DataType.FLOAT)
    x = rng.standard_normal((2, 2, 3, 3)).astype(np.float32)
    found = execute(engine, x).reshape(2, 3)
    np.testing.assert_allclose(found, x.reshape(2, 18).astype(np.float64) @ weights.T + bias, rtol=1e-4, atol=1e-5)


def test_a_mean_image(tmp_path, rng):
    from tensorwright.importers.caffe.blobs import model_messages

    mean = rng.random((1, 3, 2, 2), np.float32)
    blob = model_messages()["BlobProto"](num=1, channels=3, height=2, width=2, data=mean.ravel().tolist())
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    found = parsers.caffeparser.create_caffe_parser().parse_binary_proto(tmp_path / "mean.binaryproto")
    dims = found.get_dimensions()
    assert (dims.N(), dims.C(), dims.H(), dims.W()) == (1, 3, 2, 2)
    assert np.array_equal(found.get_data(12).reshape(mean.shape), mean)
    found.destroy()


def test_blobs_of_a_parsed_network(logger, caffe_files):
    deploy, model, _ = caffe_files
    network = infer.create_infer_builder(logger).create_network()
    parser = parsers.caffeparser.create_caffe_parser()
    blobs = parser.parse(str(deploy), str(model), network, infer.DataType_kHALF)
    assert blobs.find("out").get_name() == "out"
    assert blobs.find("nonsense") is None
    assert network.get_nb_layers() > 0


class TestErrors:
    def test_precisions(self, logger, uff_model):
        arguments = logger, uff_model, uff_parser(), 1, 1 << 20
        for wrong, message in ((infer.DataType.INT8, "calibrator"), (infer.DataType.INT32, "INT32")):
            with pytest.raises(AttributeError, match=message):
                utils.uff_to_trt_engine(*arguments, wrong)
        assert utils.uff_to_trt_engine(*arguments, infer.DataType.HALF)

    def test_models(self, logger, tmp_path, caffe_files, capsys):
        deploy, model, _ = caffe_files
        with pytest.raises(AssertionError, match="UFF model cannot be parsed"):
            utils.uff_to_trt_engine(logger, b"no model", uff_parser(), 1, 1 << 20)
        with pytest.raises(AssertionError, match="Caffe model cannot be parsed"):
            utils.caffe_to_trt_engine(logger, tmp_path / "none", None, 1, 1 << 20, ["out"])
        with pytest.raises(AssertionError, match="Caffe model cannot be parsed"):
            utils.caffe_to_trt_engine(logger, deploy, model, 1, 1 << 20, ["nonsense"])
        assert "no blob 'nonsense'; it has" in capsys.readouterr().err
        empty = infer.create_infer_builder(logger).create_network()
        with pytest.raises(AssertionError, match="cannot be built"):
            utils.trt_network_to_trt_engine(logger, empty, 1, 1 << 20)


class DenseTwice(infer.Plugin):
    def __init__(self, weights):
        self.kernel, self.bias = weights

    def add_layers(self, network, inputs, node):
        dense = network.add_fully_connected(inputs[0], 4, self.kernel, self.bias)
        return network.add_element_wise(
            dense.get_output(0), dense.get_output(0), infer.ElementWiseOperation_kSUM
        ).get_output(0)


class Factory(infer.PluginFactory):
    def is_plugin(self, layer_name):
        return layer_name == "ip"

    def create_plugin(self, layer_name, weights):
        assert layer_name == "ip"
        return DenseTwice(weights)


class TestPlugins:
    def test_a_factory_replaces_a_layer_and_is_not_needed_again(self, tmp_path, rng, capsys):
        text = caffe_models.definition(
            caffe_models.layer("InnerProduct", "inner_product_param { num_output: 4 }", name="ip"), data=(1, 2, 3, 1)
        )
        kernel, bias = rng.random((4, 6), np.float32), rng.random(4, np.float32)
        (tmp_path / "d").write_bytes(text)
        (tmp_path / "m").write_bytes(caffe_models.model({"ip": [kernel, bias]}))
        heard = infer.ConsoleLogger(infer.LogSeverity.INFO)
        engine = utils.caffe_to_trt_engine(
            heard, tmp_path / "d", tmp_path / "m", 1, 1 << 20, ["out"], plugin_factory=Factory()
        )
        x = rng.random((1, 2, 3, 1), np.float32)
        expected = 2 * (kernel @ x.ravel() + bias)
        runtime = infer.create_infer_runtime(heard)
        for one in (engine, runtime.deserialize_cuda_engine(engine.serialize(), None, Factory())):
            np.testing.assert_allclose(one.inner(x)["out"].ravel(), expected, rtol=1e-5)

    def test_a_plugin_is_a_layer_of_a_network(self, logger, rng):
        network = infer.create_infer_builder(logger).create_network()
        x = network.add_input("x", infer.DataType.FLOAT, (2, 3, 1))
        layer = network.add_plugin([x], DenseTwice([rng.random((4, 6), np.float32), infer.Weights.empty]))
        assert layer.get_output(0).get_dimensions() == (4, 1, 1)
        assert layer.get_type() is infer.LayerType.PLUGIN
        assert network.add_plugin_ext([layer.get_output(0)], lambda node: node.inputs[0]).get_nb_outputs() == 1

    def test_custom_nodes_without_a_plugin_are_reported(self, logger, capsys):
        model = ModelMaker()
        model.input((-1, 2))
        model.node("_Unheard", "x", name="y")
        parser = parsers.uffparser.create_uff_parser()
        parser.register_input("x", (2,), 2)
        parser.register_output("y")
        parser.set_plugin_factory(Factory())
        with pytest.raises(AssertionError, match="UFF model cannot be parsed"):
            utils.uff_to_trt_engine(logger, model.serialized(), parser, 1, 1 << 20)
        assert "there is no plugin of this name" in capsys.readouterr().err


class TestWeightsFiles:
    def test_all_types(self, tmp_path):
        floats = [1.5, -2.0]
        words = " ".join(struct.pack(">f", value).hex() for value in floats)
        (tmp_path / "w.wts").write_text(f"3\nconv 0 2 {words}\nhalf 1 1 3c00\nint 3 1 ffffffff\n")
        found = utils.load_weights(tmp_path / "w.wts")
        assert list(found["conv"].numpy()) == floats
        assert found["conv"].numpy().dtype == np.float32
        assert list(found["half"].numpy()) == [1.0]
        assert list(found["int"].numpy()) == [-1]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "number of weights"),
            ("2\na 0 1 0\n", "as many lines"),
            ("1\na 0 2 0\n", r"line 2: 'a' should have 2 values"),
            ("1\na 7 1 0\n", "line 2"),
            ("1\na 0 1 xyz\n", "line 2"),
            ("1\na\n", "line 2"),
        ],
    )
    def test_damaged_files(self, tmp_path, text, message):
        (tmp_path / "w.wts").write_text(text)
        with pytest.raises(ImportFailure, match=message):
            utils.load_weights(tmp_path / "w.wts")


class TestLite:
    def test_a_frozen_graph_with_processors(self, tmp_path):
        (tmp_path / "lenet.pb").write_bytes(frozen_lenet())
        engine = lite.Engine(
            framework="tf",
            path=tmp_path / "lenet.pb",
            input_nodes={"Placeholder": (1, 28, 28)},
            output_nodes=["fc2/Relu"],
            max_batch_size=BATCH,
            preprocessors={"Placeholder": lambda case: case / 255},
            postprocessors={"fc2/Relu": lambda case: int(np.argmax(case))},
            logger_severity=infer.LogSeverity.ERROR,
        )
        raw = [np.frombuffer(file.read_bytes()[-784:], np.uint8).reshape(1, 28, 28) for file in DIGITS[:10]]
        labels = [label(file) for file in DIGITS[:10]]
        assert engine.infer(raw)[0] == labels
        assert engine.infer(np.stack(raw))[0] == labels
        assert engine.infer(raw[0])[0] == labels[:1]

    def test_a_plan_and_arrays(self, logger, caffe_files, tmp_path, rng):
        deploy, model, (weights, bias) = caffe_files
        profiler = infer.Profiler(1)
        made = lite.Engine(
            framework="c1", deployfile=deploy, modelfile=model, output_nodes=["out"], max_batch_size=2, logger=logger,
            profiler=profiler,
        )  # fmt: skip
        assert made.save(tmp_path / "net.plan")
        x = rng.standard_normal((5, 2, 3, 3)).astype(np.float32)
        expected = (x.reshape(5, 18).astype(np.float64) @ weights.T + bias).reshape(5, 3, 1, 1)
        engines = [
            made,
            lite.Engine(PLAN=tmp_path / "net.plan", logger=logger),
            lite.Engine(engine_stream=(tmp_path / "net.plan").read_bytes(), logger=logger),
        ]
        for engine in engines:
            assert (engine.input_names, engine.output_names, engine.max_batch_size) == (["data"], ["out"], 2)
            assert engine.input_dim[0].C() == 2
            assert engine.output_dim[0] == (3, 1, 1)
            (found,) = engine.infer(x)
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
            (found,) = engine.infer(x[0])
            np.testing.assert_allclose(found, expected[:1], rtol=1e-4, atol=1e-5)
        assert profiler.times

    def test_two_models_in_memory_share_a_logger(self, uff_model, capsys):
        nodes = {"input_nodes": {"Placeholder": (1, 28, 28)}, "output_nodes": ["fc2/Relu"]}
        other = lite.Engine(framework="uff", stream=uff_model, **nodes)
        engine = lite.Engine(framework="uff", stream=uff_model, **nodes)
        assert engine.logger is other.logger
        assert "second logger" not in capsys.readouterr().err
        assert engine.infer(image(DIGITS[0]))[0].argmax() == label(DIGITS[0])

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "expected a framework, or a plan"),
            ({"framework": "caffe"}, "deployfile"),
            ({"framework": "uff"}, "path"),
            ({"framework": "nonsense", "path": "x"}, "'nonsense'"),
        ],
    )
    def test_wrong_arguments(self, arguments, message):
        with pytest.raises(ExecutionError, match=message):
            lite.Engine(**arguments)

    def test_wrong_inputs(self, uff_model):
        nodes = {"input_nodes": {"Placeholder": (1, 28, 28)}, "output_nodes": ["fc2/Relu"]}
        engine = lite.Engine(framework="uff", stream=uff_model, **nodes)
        with pytest.raises(ExecutionError, match="expected 1 inputs"):
            engine.infer()
        with pytest.raises(ExecutionError, match="cases of DimsCHW"):
            engine.infer(np.zeros((2, 28, 27), np.float32))


def test_a_parse_with_halves_gives_a_plan_of_half_the_size(logger, uff_model):
    kinds = infer.DataType.FLOAT, infer.DataType.HALF
    single, half = (utils.uff_to_trt_engine(logger, uff_model, uff_parser(), BATCH, 1 << 20, kind) for kind in kinds)
    weights = 4 * (20 * 25 + 50 * 20 * 25 + 800 * 500 + 500 * 10)
    assert len(single.serialize()) - len(half.serialize()) > 0.4 * weights
    images = np.stack([image(file) for file in DIGITS[:BATCH]])
    assert np.array_equal(execute(half, images).argmax(1), execute(single, images).argmax(1))
