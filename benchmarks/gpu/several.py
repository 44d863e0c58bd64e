"""Throughput on one and on all GPUs, inputs and outputs in memory of the host, beside PyTorch with one process per GPU.

``python -m benchmarks.gpu.several --folder DIR resnet50:8:f16 …``: builds a plan for every network, measures each by
``tensorwright bench --throughput --devices all``, then PyTorch's processes, all of which have compiled before, in turns
with one process alone. Writes DIR/several.json. Each process of PyTorch has two pairs of page-locked buffers and two
streams: it copies a batch of NumPy's memory into one pair while the other computes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

SECONDS = 1.0
ROUNDS = 3
POLL = 0.002


def build(network: str, level: int, number: int, folder: Path) -> None:
    """Build a plan on the GPU of a number."""
    from benchmarks.gpu import measure
    from tensorwright.build.build import build as build_plan
    from tensorwright.build.config import BuildConfig
    from tensorwright.plan.file import write_plan

    name, batch, type = network.split(":")
    began = time.perf_counter()
    config = BuildConfig(device=f"cuda:{number}", level=level, timing_cache="")
    write_plan(build_plan(measure.network(name, int(batch), type), config), plan_of(network, folder))
    print(f"{network}: built in {time.perf_counter() - began:.0f} s", flush=True)


def plan_of(network: str, folder: Path) -> Path:
    return folder / f"{network.replace(':', '-')}.plan"


def ours(network: str, folder: Path, contexts: int, gpus: int, processes: bool) -> dict[str, Any]:
    command = [
        sys.executable, "-m", "tensorwright", "bench", str(plan_of(network, folder)), "--throughput",
        "--devices", ",".join(f"cuda:{n}" for n in range(gpus)), "--contexts", str(contexts), "--json",
        "--warm-up", "0.5", "--duration", str(SECONDS * ROUNDS), "--rounds", str(ROUNDS),
        *(["--processes"] if processes else []),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip()[-500:]}
    found = json.loads(done.stdout)
    one, *rest = (result["median"] for result in found["results"].values())
    return {"one": one, "all": rest[0] if rest else one, "efficiency": found["efficiency"], "results": found["results"]}


def peer(networks: list[str], number: int, folder: Path) -> None:
    """One process of PyTorch: compiles everything, then measures what files in the folder ask for."""
    import torch

    from benchmarks.gpu.peers import TYPES, model_and_input

    torch.cuda.set_device(number)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // torch.cuda.device_count()))
    torch._inductor.config.freezing = True
    subjects = {}
    for network in networks:
        name, batch, type = network.split(":")
        with torch.no_grad():
            model, given = model_and_input(name, int(batch), TYPES[type])
            subjects[network] = Lanes(torch.compile(model), given)
        (folder / f"compiled-{network}-{number}").touch()
    (folder / f"ready-{number}").touch()
    while True:
        for request in sorted(folder.glob(f"go-*-{number}.json")):
            asked = json.loads(request.read_text())
            request.unlink()
            if asked["network"] is None:
                return
            lanes = subjects[asked["network"]]
            found = lanes.rate(asked["start"], asked["seconds"])
            target = folder / f"found-{asked['turn']}-{number}.json"
            draft = target.with_suffix(".draft")
            draft.write_text(json.dumps(found))
            draft.rename(target)
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


def theirs(network: str, numbers: list[int], folder: Path, turn: str) -> float:
    start = time.time() + 0.3
    for number in numbers:
        asked = {"network": network, "start": start, "seconds": SECONDS, "turn": turn}
        draft = folder / f"draft-{turn}-{number}"
        draft.write_text(json.dumps(asked))
        draft.rename(folder / f"go-{turn}-{number}.json")
    paths = [folder / f"found-{turn}-{number}.json" for number in numbers]
    _wait(paths, 60)
    return sum(json.loads(path.read_text()) for path in paths)


def _wait(paths: list[Path], seconds: float) -> None:
    end = time.time() + seconds
    while not all(path.exists() for path in paths):
        if time.time() > end:
            raise TimeoutError(f"{[str(path) for path in paths if not path.exists()]} did not come")
        time.sleep(POLL)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="+", help="NAME:BATCH:TYPE")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--level", type=int, default=3)
    parser.add_argument("--contexts", default="2", help="several numbers, separated by commas, to compare them")
    parser.add_argument("--patience", type=float, default=200, help="seconds to wait for PyTorch to compile")
    parser.add_argument("--after", type=Path, help="a file whose coming the measurements wait for")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--build", type=int, help="only build, on this GPU")
    parser.add_argument("--peer", type=int, help="be PyTorch's process for this GPU")
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(exist_ok=True)
    if options.build is not None:
        build(options.networks[0], options.level, options.build, folder)
    elif options.peer is not None:
        peer(options.networks, options.peer, folder)
    else:
        compare(options.networks, options.level, [int(n) for n in options.contexts.split(",")], folder, options)


def compare(networks: list[str], level: int, contexts: list[int], folder: Path, options: argparse.Namespace) -> None:
    from tensorwright.devices.cuda.device import count

    gpus = list(range(count()))
    itself = [sys.executable, "-m", "benchmarks.gpu.several", "--folder", str(folder), "--level", str(level)]
    with (folder / "peers.log").open("w") as log:
        peers = [subprocess.Popen([*itself, "--peer", str(n), *networks], stdout=log, stderr=log) for n in gpus]
    try:
        with ThreadPoolExecutor(len(networks)) as pool:
            builds = [[*itself, "--build", str(n % len(gpus)), network] for n, network in enumerate(networks)]
            list(pool.map(lambda command: subprocess.run(command, check=False), builds))
        rows: dict[str, Any] = {network: {} for network in networks}
        try:
            _wait([folder / f"ready-{n}" for n in gpus], options.patience)
        except TimeoutError as error:
            print(error, flush=True)
        if options.after is not None:
            _wait([options.after], options.patience)
        for network in networks:
            for kind, used, number in _settings(contexts, len(gpus)):
                found = ours(network, folder, number, used, kind == "processes")
                rows[network][f"{used} GPUs, {number} contexts, {kind}"] = found
                print(network, f"{used} GPUs, {number} contexts, {kind}", found, flush=True)
                _save(rows, len(gpus), options.json)
        for network in networks:
            rates = {
                used: max(theirs(network, gpus[:used], folder, f"{network}-{used}-{turn}") for turn in range(2))
                for used in (1, 2, 4, 8)
                if used <= len(gpus)
            }
            rows[network]["pytorch"] = rates
            print(network, "PyTorch", rates, flush=True)
            _save(rows, len(gpus), options.json)
    finally:
        for process in peers:
            process.kill()


def _settings(contexts: list[int], gpus: int) -> list[tuple[str, int, int]]:
    """A process for each GPU with every number of contexts; on fewer GPUs and in threads with the first."""
    fewer = [("processes", used, contexts[0]) for used in (2, 4, 8) if used < gpus]
    return [*fewer, *(("processes", gpus, number) for number in contexts), ("threads", gpus, contexts[0])]


def _save(rows: dict[str, Any], gpus: int, path: Path | None) -> None:
    if path is not None:
        path.write_text(json.dumps({"gpus": gpus, "cores": os.cpu_count(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
