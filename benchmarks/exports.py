"""Networks as PyTorch exports them, built here and compared with ONNX Runtime: ``python -m benchmarks.exports``.

Needs torch, torchvision, transformers and onnxscript beside the project; weights are random, nothing is downloaded.
Every network is exported by an exporter of torch, with fixed or open extents, built, called with the shapes of its
example and with others, and timed in turns with ONNX Runtime. The rows are printed as a table and written as JSON
lines.
"""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import tensorwright as tw
from tensorwright.base.errors import TensorwrightError

Arrays = Mapping[str, np.ndarray]
TURNS = 30
PAUSE = 0.05
"""Seconds before every turn in which threads of the engine before go to sleep, which spin for a while."""
WIDTH = 160
"""Columns that the table needs, whatever the terminal has."""


@dataclass(frozen=True)
class Network:
    """What is exported.

    make: the module in evaluation mode, and its arguments. names: of the arguments.
    open: names of the open axes by argument; other extents are tried by adding `steps` of an axis' name to them.
    """

    make: Callable[[], tuple[Any, tuple[Any, ...]]]
    names: tuple[str, ...]
    open: Mapping[str, Mapping[int, str]]
    steps: Mapping[str, int] = field(default_factory=lambda: {"batch": 1, "height": 32, "width": 64, "sequence": -3})


@dataclass(frozen=True)
class Row:
    """One network, one way to export it. Milliseconds are the least of all turns."""

    network: str
    exporter: str
    open: bool
    level: int
    build_seconds: float = 0.0
    engine: str = ""
    on_host: int = 0
    difference: float = 0.0
    milliseconds: float = 0.0
    onnxruntime_milliseconds: float = 0.0
    failure: str = ""


def classifier(name: str) -> Network:
    def make() -> tuple[Any, tuple[Any, ...]]:
        import torch
        import torchvision

        more = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
        size = 299 if name == "inception_v3" else 224
        module = getattr(torchvision.models, name)(weights=None, **more)
        if name == "vit_b_16":
            torch.nn.init.normal_(module.heads.head.weight, std=0.02)  # All zeros give zeros, whatever comes before.
        return module, (torch.randn(1, 3, size, size),)

    return Network(make, ("image",), {"image": {0: "batch"}})


def segmentation(name: str) -> Network:
    def make() -> tuple[Any, tuple[Any, ...]]:
        import torch
        import torchvision

        class Head(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                models = torchvision.models.segmentation
                self.whole = getattr(models, name)(weights=None, weights_backbone=None)

            def forward(self, image: Any) -> Any:
                return self.whole(image)["out"]

        return Head(), (torch.randn(1, 3, 224, 224),)

    return Network(make, ("image",), {"image": {0: "batch", 2: "height", 3: "width"}})


def text(model: str, configuration: str, **settings: object) -> Network:
    def make() -> tuple[Any, tuple[Any, ...]]:
        import torch
        import transformers

        class First(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                self.whole = getattr(transformers, model)(getattr(transformers, configuration)(**SMALL, **settings))

            def forward(self, ids: Any, mask: Any) -> Any:
                return self.whole(input_ids=ids, attention_mask=mask, return_dict=False)[0]

        return First(), (torch.randint(3, 99, (1, 12)), torch.ones(1, 12, dtype=torch.int64))

    open_axes = {0: "batch", 1: "sequence"}
    return Network(make, ("ids", "mask"), {"ids": open_axes, "mask": open_axes})


SMALL = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 99,
    "max_position_embeddings": 64,
}  # fmt: skip
CLASSIFIERS = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet1_0",
    "mobilenet_v2", "mobilenet_v3_large", "regnet_y_400mf", "resnet18", "resnet50", "shufflenet_v2_x1_0",
    "squeezenet1_1", "swin_t", "vit_b_16",
)  # fmt: skip
SEGMENTATIONS = (
    "deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "fcn_resnet50", "lraspp_mobilenet_v3_large",
)  # fmt: skip
NETWORKS = {
    **{name: classifier(name) for name in CLASSIFIERS},
    **{name: segmentation(name) for name in SEGMENTATIONS},
    "albert": text("AlbertModel", "AlbertConfig", embedding_size=32),
    "bert": text("BertModel", "BertConfig"),
    "deberta": text(
        "DebertaV2Model", "DebertaV2Config", relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=16
    ),
    "electra": text("ElectraModel", "ElectraConfig", embedding_size=32),
    "gemma": text("GemmaModel", "GemmaConfig", num_key_value_heads=2, head_dim=16, use_cache=False),
    "llama": text("LlamaModel", "LlamaConfig", num_key_value_heads=2, use_cache=False),
    "mistral": text("MistralModel", "MistralConfig", num_key_value_heads=2, sliding_window=8, use_cache=False),
    "qwen2": text("Qwen2Model", "Qwen2Config", num_key_value_heads=2, use_cache=False),
}


def export(network: Network, exporter: str, is_open: bool, path: Path) -> list[Arrays]:
    """Write the model; what to call it with: its example and, if extents are open, others."""
    import torch

    torch.manual_seed(0)
    module, arguments = network.make()
    options: dict[str, object] = {"input_names": list(network.names), "dynamo": exporter == "dynamo"}
    axes = [network.open.get(name, {}) for name in network.names]
    if is_open and exporter == "dynamo":
        options["dynamic_shapes"] = tuple(dict.fromkeys(each, torch.export.Dim.DYNAMIC) for each in axes)
    elif is_open:
        options["dynamic_axes"] = dict(zip(network.names, axes, strict=True))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), arguments, str(path), **options)
    example = {name: argument.numpy() for name, argument in zip(network.names, arguments, strict=True)}
    return [example, *([other(network, example)] if is_open else [])]


def other(network: Network, example: Arrays) -> Arrays:
    """The example with other extents: cut, or begun again."""
    changed = dict(example)
    for name, axes in network.open.items():
        for axis, what in axes.items():
            extent = changed[name].shape[axis]
            changed[name] = np.take(changed[name], np.arange(extent + network.steps[what]) % extent, axis)
    return changed


def measured(row: Row, path: Path, feeds: list[Arrays], threads: int) -> Row:
    """The row with what the build and the calls gave."""
    session = session_for(path, threads)
    wanted = {one.name for one in session.get_inputs()}
    feeds = [{name: array for name, array in feed.items() if name in wanted} for feed in feeds]
    shapes = ranges(session, feeds[0]) if row.open else None
    start = time.perf_counter()
    engine = tw.build(path, level=row.level, threads=threads, timing_cache="", shapes=shapes)
    seconds = time.perf_counter() - start
    worst = max(difference(engine(feed), session, feed) for feed in feeds)
    own, theirs = in_turns(lambda: engine(feeds[0]), lambda: session.run(None, feeds[0]))
    return replace(
        row,
        build_seconds=seconds,
        engine=type(engine).__name__,
        on_host=len(getattr(engine, "hosted", ())),
        difference=worst,
        milliseconds=own,
        onnxruntime_milliseconds=theirs,
    )


def session_for(path: Path, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def ranges(session: Any, example: Arrays) -> dict[str, tuple[int, int, int]]:
    """For every open dimension: from 1, tuned for the example's, to twice as much and a little more."""
    found: dict[str, tuple[int, int, int]] = {}
    for one in session.get_inputs():
        for dim, extent in zip(one.shape, example[one.name].shape, strict=True):
            if isinstance(dim, str):
                found.setdefault(dim, (1, extent, 2 * extent + 16))
    return found


def difference(got: Arrays, session: Any, feed: Arrays) -> float:
    """The largest difference of any output from ONNX Runtime's, relative to the largest number of that output."""
    names = [output.name for output in session.get_outputs()]
    wanted = dict(zip(names, session.run(None, feed), strict=True))
    return max(float(np.abs(got[n] - w).max() / max(np.abs(w).max(), 1e-30)) for n, w in wanted.items() if w.size)


def in_turns(*calls: Callable[[], object]) -> list[float]:
    """The least milliseconds of each of several calls, made one after the other, many times, each time once before."""
    least = [float("inf")] * len(calls)
    for _ in range(TURNS):
        for number, call in enumerate(calls):
            time.sleep(PAUSE)
            call()
            start = time.perf_counter()
            call()
            least[number] = min(least[number], (time.perf_counter() - start) * 1e3)
    return least


def rows(names: list[str], exporters: list[str], levels: list[int], threads: int) -> Iterator[Row]:
    """A row for every network, exporter and kind of extents, at every level."""
    for name in names:
        for exporter, is_open in [(exporter, is_open) for exporter in exporters for is_open in (False, True)]:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.onnx"
                first = Row(name, exporter, is_open, levels[0])
                try:
                    feeds = export(NETWORKS[name], exporter, is_open, path)
                except Exception as error:  # noqa: BLE001 - Exporters fail in every way there is.
                    yield replace(first, failure=f"torch does not export it: {type(error).__name__}")
                    continue
                for level in levels:
                    row = replace(first, level=level)
                    try:
                        yield measured(row, path, feeds, threads)
                    except TensorwrightError as error:
                        yield replace(row, failure=str(error).splitlines()[0])


def table(found: list[Row]) -> Table:
    shown = Table("network", "exporter", "extents", "level", "build", "engine", "off by", "ms", "ONNX Runtime ms", "")
    for row in found:
        shown.add_row(
            row.network,
            row.exporter,
            "open" if row.open else "fixed",
            str(row.level),
            f"{row.build_seconds:.1f} s",
            row.engine + (f", {row.on_host} nodes on the host" if row.on_host else ""),
            f"{row.difference:.1e}",
            f"{row.milliseconds:.2f}",
            f"{row.onnxruntime_milliseconds:.2f}",
            row.failure,
        )
    return shown


def main(
    networks: Annotated[list[str] | None, typer.Argument(help="Their names; all without any.")] = None,
    exporter: Annotated[list[str], typer.Option(help="torchscript or dynamo.")] = ["torchscript", "dynamo"],  # noqa: B006
    level: Annotated[list[int], typer.Option(help="Tuning effort.")] = [3],  # noqa: B006
    threads: Annotated[int, typer.Option(help="Threads of an inference.")] = 2,
    output: Annotated[Path, typer.Option(help="Where the rows are added, as JSON lines.")] = Path("exports.jsonl"),
) -> None:
    """Export networks, build them and compare them with ONNX Runtime."""
    console, found = Console(width=max(Console().width, WIDTH)), []
    for row in rows(networks or list(NETWORKS), exporter, level, threads):
        found.append(row)
        console.print(row)
        with output.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")
    console.print(table(found))


if __name__ == "__main__":
    typer.run(main)
