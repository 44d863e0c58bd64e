"""The networks that benchmarks and export tests use, made with PyTorch and transformers from fixed seeds.

Weights are random, batch-norm statistics randomised, so nothing is downloaded. Attention is exported as plain
operators. ``python -m benchmarks.models FOLDER [NAME …]`` writes ONNX files.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SEED = 20261123
OPSET = 18
IMAGE = (1, 3, 224, 224)
TOKENS = (1, 128)


@dataclass(frozen=True)
class Model:
    """A network: how to make it, and the shape of its only input (float images or int64 token numbers)."""

    name: str
    make: Callable[[], Any]
    shape: tuple[int, ...]

    @property
    def takes_tokens(self) -> bool:
        return self.shape == TOKENS


def _resnet(layer: str, depths: list[int], sizes: list[int]) -> Callable[[], Any]:
    def make() -> Any:
        from transformers import ResNetConfig, ResNetForImageClassification

        config = ResNetConfig(layer_type=layer, depths=depths, hidden_sizes=sizes, num_labels=1000)
        return ResNetForImageClassification(config)

    return make


def _vision(config: str, network: str) -> Callable[[], Any]:
    def make() -> Any:
        import transformers

        options = {"attn_implementation": "eager"} if config == "ViTConfig" else {}
        return getattr(transformers, network)(getattr(transformers, config)(num_labels=1000, **options))

    return make


def _bert(**sizes: int) -> Callable[[], Any]:
    def make() -> Any:
        from transformers import BertConfig, BertModel

        return BertModel(BertConfig(attn_implementation="eager", **sizes))

    return make


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model("resnet18", _resnet("basic", [2, 2, 2, 2], [64, 128, 256, 512]), IMAGE),
        Model("resnet50", _resnet("bottleneck", [3, 4, 6, 3], [256, 512, 1024, 2048]), IMAGE),
        Model("mobilenetv2", _vision("MobileNetV2Config", "MobileNetV2ForImageClassification"), IMAGE),
        Model("convnext_tiny", _vision("ConvNextConfig", "ConvNextForImageClassification"), IMAGE),
        Model("vit_base", _vision("ViTConfig", "ViTForImageClassification"), IMAGE),
        Model("bert_base", _bert(), TOKENS),
        Model(
            "minilm",
            _bert(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536),
            TOKENS,
        ),
    )
}


@dataclass(frozen=True)
class LeNet:
    """20@5×5, pool, 50@5×5, pool, 500, ReLU, 10, softmax on 28×28 pixels, with random weights."""

    shape: tuple[int, ...] = (1, 1, 28, 28)

    def write(self, path: Path) -> None:
        """Write the ONNX file."""
        import numpy as np
        from onnx import TensorProto, helper, numpy_helper, save

        rng = np.random.default_rng(SEED)
        shapes = {"w1": (20, 1, 5, 5), "b1": (20,), "w2": (50, 20, 5, 5), "b2": (50,)}
        shapes |= {"w3": (500, 800), "b3": (500,), "w4": (10, 500), "b4": (10,)}
        weights = [
            numpy_helper.from_array((rng.standard_normal(s) / np.sqrt(np.prod(s[1:]))).astype(np.float32), name)
            for name, s in shapes.items()
        ]
        pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
        nodes = [
            helper.make_node("Conv", ["image", "w1", "b1"], ["c1"]),
            helper.make_node("MaxPool", ["c1"], ["p1"], **pool),
            helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"]),
            helper.make_node("MaxPool", ["c2"], ["p2"], **pool),
            helper.make_node("Flatten", ["p2"], ["f"]),
            helper.make_node("Gemm", ["f", "w3", "b3"], ["g1"], transB=1),
            helper.make_node("Relu", ["g1"], ["r"]),
            helper.make_node("Gemm", ["r", "w4", "b4"], ["g2"], transB=1),
            helper.make_node("Softmax", ["g2"], ["output"], axis=1),
        ]
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, self.shape)
        output = helper.make_tensor_value_info("output", TensorProto.FLOAT, (1, 10))
        graph = helper.make_graph(nodes, "lenet", [image], [output], weights)
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10), str(path))


LENET = LeNet()


def input_shape(name: str) -> tuple[int, ...]:
    """The shape of the only input of a network."""
    return LENET.shape if name == "lenet" else MODELS[name].shape


def model_file(name: str, folder: Path) -> Path:
    """The ONNX file of a network, made if it is not there yet; without PyTorch, one with the same layers."""
    if name != "lenet" and not all(map(importlib.util.find_spec, ("torch", "transformers", "onnxscript"))):
        from benchmarks.written import written_file

        return written_file(name, folder)
    if name != "lenet":
        return export(MODELS[name], folder / f"{name}.onnx")
    path = folder / "lenet.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        LENET.write(path)
    return path


def export(model: Model, path: Path, *, dynamic_batch: bool = False) -> Path:
    """Write the ONNX file of a model, if it is not there yet."""
    if path.exists():
        return path
    import torch

    torch.manual_seed(SEED)
    network = _first_output(model.make().eval())
    _randomise_statistics(network)
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.randint(0, 1000, model.shape) if model.takes_tokens else torch.randn(model.shape)
    name = "tokens" if model.takes_tokens else "image"
    temporary = path.with_suffix(".part.onnx")
    with torch.no_grad():
        torch.onnx.export(
            network,
            (example,),
            str(temporary),
            input_names=[name],
            output_names=["output"],
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=8)},) if dynamic_batch else None,
            verbose=False,
        )
    temporary.replace(path)
    return path


def _first_output(network: Any) -> Any:
    import torch

    class FirstOutput(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network(x)[0]

    return FirstOutput().eval()


def _randomise_statistics(network: Any) -> None:
    import torch

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0.0, 0.1)
            module.running_var.uniform_(0.5, 1.5)


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(MODELS)
    for name in names:
        print(export(MODELS[name], folder / f"{name}.onnx"))


if __name__ == "__main__":
    main()
