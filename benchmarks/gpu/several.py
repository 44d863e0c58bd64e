"""Throughput on one and on all GPUs, inputs and outputs in memory of the host, beside PyTorch with one process per GPU.

``python -m benchmarks.gpu.several --folder DIR resnet50:8:f16 …``: builds a plan for every network, measures each by
``tensorwright bench --throughput --devices …``, then PyTorch's processes in turns with one process alone. PyTorch has a
process for every network and GPU, which has compiled before. What is not ready when the file that --after names comes,
or after --patience seconds, is ended and left out; what is measured is in --json at once. Each process of PyTorch has
two pairs of page-locked buffers and two streams: it copies a batch of NumPy's memory into one pair while the other
computes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 1.0
ROUNDS = 3
POLL = 0.002
START = 0.3
"""Seconds from an order to PyTorch's processes to their common start."""
MOST_SECONDS = 60
"""What takes longer than this is ended."""


@dataclass(frozen=True)
class Settings:
    networks: list[str]
    folder: Path
    level: int
    contexts: list[int]
    gpus: int
    patience: float
    budget: float
    after: Path | None
    json: Path | None
    at_once: int
    builders: int
    with_threads: bool
    kind: str


def plan_of(network: str, folder: Path) -> Path:
    return folder / f"{network.replace(':', '-')}.plan"


# ---- preparing


def prepare(settings: Settings) -> list[subprocess.Popen[bytes]]:
    """Build all plans and have PyTorch compile, as far as there is time. PyTorch's processes that are ready."""
    itself = [sys.executable, "-m", "benchmarks.gpu.several", "--folder", str(settings.folder)]
    last = settings.gpus - 1  # Where others measure least.
    builds = [
        (
            plan_of(network, settings.folder),
            [*itself, "--level", str(settings.level), "--build", f"{settings.kind}:{last}", network],
        )
        for network in settings.networks
    ]
    peers = [
        (settings.folder / f"compiled-{network}-{gpu}", [*itself, "--peer", str(gpu), network])
        for network in settings.networks
        for gpu in range(settings.gpus)
    ]
    end = time.time() + settings.patience
    with (settings.folder / "prepared.log").open("w") as log:
        lines = [Line(builds, settings.builders), Line(peers, settings.at_once)]
        while time.time() < end and not _exists(settings.after):
            are_done = [line.advance(log) for line in lines]
            if all(are_done):
                break
            time.sleep(0.1)
    for line in lines:
        line.end_those_at_work()
    return [process for _, process in lines[1].done]


class Line:
    """Processes of which some are at work at a time, each until its file is there; then it may go on."""

    def __init__(self, commands: list[tuple[Path, list[str]]], at_once: int) -> None:
        self.waiting = deque(commands)
        self.at_once = at_once
        self.at_work: list[tuple[Path, subprocess.Popen[bytes]]] = []
        self.done: list[tuple[Path, subprocess.Popen[bytes]]] = []

    def advance(self, log: Any) -> bool:
        """Start what may start; whether all is done."""
        for path, process in list(self.at_work):
            if path.exists() or process.poll() is not None:
                self.at_work.remove((path, process))
                if path.exists():
                    self.done.append((path, process))
                print(f"{path.name}: {'ready' if path.exists() else f'failed, {process.poll()}'}", flush=True)
        while self.waiting and len(self.at_work) < self.at_once:
            path, command = self.waiting.popleft()
            self.at_work.append((path, subprocess.Popen(command, stdout=log, stderr=log)))
        return not self.at_work

    def end_those_at_work(self) -> None:
        for path, process in self.at_work:
            print(f"{path.name}: not ready", flush=True)
            process.kill()
            process.wait()
        for path, _ in self.waiting:
            print(f"{path.name}: not begun", flush=True)


def build(network: str, level: int, device: str, folder: Path) -> None:
    """Build a plan on a device; its file appears complete."""
    from benchmarks.gpu.networks import network as network_of
    from tensorwright.build.build import build as build_plan
    from tensorwright.build.config import BuildConfig
    from tensorwright.plan.file import write_plan

    name, batch, type = network.split(":")
    began = time.perf_counter()
    config = BuildConfig(device=device, level=level, timing_cache="", tf32=type == "tf32")
    write_plan(build_plan(network_of(name, int(batch), type), config), plan_of(network, folder))
    print(f"{network}: built in {time.perf_counter() - began:.0f} s", flush=True)


def _exists(path: Path | None) -> bool:
    return path is not None and path.exists()


# ---- measuring


def compare(settings: Settings) -> None:
    peers = prepare(settings)
    try:
        while settings.after is not None and not settings.after.exists():
            time.sleep(0.1)
        end = time.time() + settings.budget
        rows: dict[str, Any] = {network: {} for network in settings.networks}
        for network in settings.networks:
            for way, used, contexts in _ways(settings):
                key = f"{used} GPUs, {contexts} contexts, {way}"
                found = ours(network, settings, contexts, used, way == "processes", end)
                _note(rows, network, key, found, settings)
            for used in (1, 2, 4, 8):
                if used <= settings.gpus:
                    _note(rows, network, f"pytorch, {used} GPUs", theirs(network, used, settings, end), settings)
    finally:
        for process in peers:
            process.kill()


def _ways(settings: Settings) -> list[tuple[str, int, int]]:
    """A process for each GPU with every number of contexts; on fewer GPUs and in threads with the first."""
    contexts, gpus = settings.contexts, settings.gpus
    all_of_them = [("processes", gpus, number) for number in contexts]
    fewer = [("processes", used, contexts[0]) for used in (2, 4, 8) if used < gpus]
    return [*all_of_them, *fewer, *([("threads", gpus, contexts[0])] if settings.with_threads else [])]


def ours(network: str, settings: Settings, contexts: int, gpus: int, processes: bool, end: float) -> dict[str, Any]:
    """Items a second of one GPU and of so many, in turns in one run."""
    plan = plan_of(network, settings.folder)
    if not plan.exists():
        return {"error": "there is no plan"}
    if time.time() > end:
        return {"error": "there was no time left"}
    command = [
        sys.executable, "-m", "tensorwright", "bench", str(plan), "--throughput",
        "--devices", ",".join(f"{settings.kind}:{n}" for n in range(gpus)), "--contexts", str(contexts), "--json",
        "--warm-up", "0.5", "--duration", str(SECONDS * ROUNDS), "--rounds", str(ROUNDS),
        *(["--processes"] if processes else []),
    ]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=MOST_SECONDS)
    except subprocess.TimeoutExpired:
        return {"error": f"it took more than {MOST_SECONDS} s"}
    if done.returncode:
        return {"error": done.stderr.strip()[-500:]}
    found = json.loads(done.stdout)
    one, *rest = (result["median"] for result in found["results"].values())
    return {"one": one, "all": rest[0] if rest else one, "efficiency": found["efficiency"], "results": found["results"]}


def theirs(network: str, used: int, settings: Settings, end: float) -> Any:
    """Items a second of PyTorch's processes together, the better of two turns."""
    folder, gpus = settings.folder, range(used)
    if not all((folder / f"compiled-{network}-{gpu}").exists() for gpu in gpus):
        return {"error": "it has not compiled"}
    if time.time() > end:
        return {"error": "there was no time left"}
    try:
        return max(_turn(network, used, folder, f"{network}-{used}-{turn}") for turn in range(2))
    except TimeoutError as error:
        return {"error": str(error)}


def _turn(network: str, used: int, folder: Path, turn: str) -> float:
    start = time.time() + START
    for gpu in range(used):
        draft = folder / f"draft-{turn}-{gpu}"
        draft.write_text(json.dumps({"start": start, "seconds": SECONDS, "turn": turn}))
        draft.rename(folder / f"go-{network}-{gpu}.json")
    paths = [folder / f"found-{turn}-{gpu}.json" for gpu in range(used)]
    end = time.time() + START + 10 * SECONDS
    while not all(path.exists() for path in paths):
        if time.time() > end:
            raise TimeoutError(f"{[path.name for path in paths if not path.exists()]} did not come")
        time.sleep(POLL)
    return sum(json.loads(path.read_text()) for path in paths)


def _note(rows: dict[str, Any], network: str, key: str, found: Any, settings: Settings) -> None:
    rows[network][key] = found
    print(network, key, found, flush=True)
    if settings.json is not None:
        draft = settings.json.with_suffix(".draft")
        whole = {"gpus": settings.gpus, "cores": len(os.sched_getaffinity(0)), "rows": rows}
        draft.write_text(json.dumps(whole, indent=1))
        draft.rename(settings.json)


# ---- PyTorch


def peer(network: str, gpu: int, folder: Path) -> None:
    """One process of PyTorch: compiles a network, then measures it whenever a file in the folder asks for it."""
    import torch

    from benchmarks.gpu.peers import model_and_input

    torch.cuda.set_device(gpu)
    torch._inductor.config.freezing = True
    name, batch, type = network.split(":")
    with torch.no_grad():
        model, given = model_and_input(name, int(batch), type)
        lanes = Lanes(torch.compile(model), given)
    (folder / f"compiled-{network}-{gpu}").touch()
    request = folder / f"go-{network}-{gpu}.json"
    while True:
        if request.exists():
            asked = json.loads(request.read_text())
            request.unlink()
            found = lanes.rate(asked["start"], asked["seconds"])
            draft = folder / f"draft-found-{asked['turn']}-{gpu}"
            draft.write_text(json.dumps(found))
            draft.rename(folder / f"found-{asked['turn']}-{gpu}.json")
        time.sleep(POLL)


class Lanes:
    """Two streams with a graph and page-locked buffers each, which take turns."""

    def __init__(self, model: Any, given: Any) -> None:
        import torch

        self.torch, self.batch, self.lanes = torch, given.shape[0], []
        self.arrays = [torch.randn_like(given).cpu() for _ in range(4)]
        for _ in range(2):
            stream = torch.cuda.Stream()
            with torch.cuda.stream(stream):
                source = given.clone()
                for _ in range(3):
                    result = model(source)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                result = model(source)
            host_in = torch.empty_like(source, device="cpu").pin_memory()
            host_out = torch.empty_like(result, device="cpu").pin_memory()
            self.lanes.append((stream, graph, source, result, host_in, host_out, torch.cuda.Event()))

    def rate(self, start: float, seconds: float) -> float:
        """Items a second from a time on, which all processes share."""
        torch, arrays = self.torch, self.arrays
        torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // torch.cuda.device_count()))
        while time.time() < start:
            time.sleep(POLL)
        count, began, pending = 0, time.perf_counter(), [False, False]
        while time.perf_counter() - began < seconds:
            for at, (stream, graph, source, result, host_in, host_out, event) in enumerate(self.lanes):
                if pending[at]:
                    event.synchronize()
                    host_out.clone()
                host_in.copy_(arrays[count % len(arrays)])
                with torch.cuda.stream(stream):
                    source.copy_(host_in, non_blocking=True)
                    graph.replay()
                    host_out.copy_(result, non_blocking=True)
                    event.record()
                pending[at] = True
                count += 1
        torch.cuda.synchronize()
        return count * self.batch / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="+", help="NAME:BATCH:TYPE")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--level", type=int, default=3)
    parser.add_argument("--contexts", default="2", help="several numbers, separated by commas, to compare them")
    parser.add_argument("--threads", action="store_true", help="measure pools without processes, too")
    parser.add_argument("--patience", type=float, default=600, help="seconds that preparing may take")
    parser.add_argument("--budget", type=float, default=600, help="seconds after which nothing more is measured")
    parser.add_argument("--after", type=Path, help="a file whose coming the measurements wait for")
    parser.add_argument("--at-once", type=int, default=8, help="processes of PyTorch that compile at a time")
    parser.add_argument("--builders", type=int, default=2, help="plans that are built at a time")
    parser.add_argument(
        "--kind", default="cuda", help="null for two devices that are always there, to try this program"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--build", help="only build, on this device")
    parser.add_argument("--peer", type=int, help="be PyTorch's process for this GPU")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    if options.build is not None:
        build(options.networks[0], options.level, options.build, options.folder)
    elif options.peer is not None:
        peer(options.networks[0], options.peer, options.folder)
    else:
        from tensorwright.devices.cuda.device import count

        gpus = count() if options.kind == "cuda" else 2
        contexts = [int(number) for number in options.contexts.split(",")]
        compare(
            Settings(
                options.networks, options.folder, options.level, contexts, gpus, options.patience, options.budget,
                options.after, options.json, options.at_once, options.builders, options.threads,
                options.kind,
            )
        )  # fmt: skip


if __name__ == "__main__":
    main()
