"""What do codecs save and cost, and does the network still classify behind them?

On activations of real frames: the models that come with the package and, for the speed on large
tensors, ResNet-18 at 224 with untrained weights, whose sizes say nothing about a trained one. The
car is this machine, slowed down by several factors. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dapdee_ros.codecs import CODEC_NAMES, codec_named, decode, encode
from dapdee_ros.codecs.measure import measure
from dapdee_ros.datasets.sources import open_data
from dapdee_ros.exits.card import ModelFolderError, find_model
from dapdee_ros.exits.model_folder import load_model
from dapdee_ros.exits.multi_exit import ImageInput
from dapdee_ros.graph.cuts import cuts
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.torchvision_import import torchvision
from dapdee_ros.graph.trace import trace
from dapdee_ros.planning.codec_cost import MeasuredCodec, TensorCost
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.sites import Hop, car_and_edge
from dapdee_ros.planning.situation import Situation
from dapdee_ros.planning.table import CandidateTable
from dapdee_ros.runtime.profiling import measure_profile
from dapdee_ros.simulation.link_trace import FIXED_RATES_BPS

RTT_S = 0.03
MOST_LOST = 0.005
SLOWDOWNS = (4.0, 8.0, 16.0, 32.0)
FOR_EVER_S = 1e6
DEADLINES_S = (0.03, 0.05, 0.1, 0.2, FOR_EVER_S)
IMAGE = ("jpeg", "webp")
NUMERIC = [codec for codec in CODEC_NAMES if codec not in IMAGE]
Boundary = tuple[int, tuple[str, ...]]


@dataclass
class Network:
    """A network, frames for it, and their labels (None: its weights are untrained)."""

    name: str
    runner: GraphRunner
    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    exit_quality: tuple[float, ...]

    @property
    def dag(self) -> ModelDag:
        """Its DAG."""
        return self.runner.dag

    def run(self, given: Mapping[str, NDArray], names: Sequence[str]) -> dict[str, NDArray]:
        """Compute some tensors from others."""
        tensors = {name: torch.from_numpy(values) for name, values in given.items()}
        return {name: t.numpy() for name, t in self.runner.run(tensors, names).items()}

    def tensors(self, frame: int, names: Sequence[str]) -> dict[str, NDArray]:
        """Compute some tensors of a frame."""
        return self.run({self.dag.input: self.images[frame : frame + 1]}, names)


def networks(frames: int, cifar10: Path | None) -> list[Network]:
    """Those that are there; the others are named with the reason."""
    found = []
    sources = {"roadsigns": "roadsigns", "vgg16-cifar10": f"cifar10:{cifar10}" if cifar10 else ""}
    for name, data in sources.items():
        try:
            model = load_model(find_model(name))
        except ModelFolderError as error:
            print(f"{name} is left out: {str(error).splitlines()[0][:120]}")
            continue
        if not data:
            print(f"{name} is left out: give its frames with --cifar10 DIR")
            continue
        size = model.card.input_size
        split = open_data(data, size=size, held_out_frames=frames).held_out()
        images, labels = split.images[:frames], split.labels[:frames]
        found.append(Network(name, model.runner, images, labels, model.card.exit_quality))
    torch.manual_seed(0)
    start = ImageInput((0.42, 0.42, 0.43), (0.25, 0.24, 0.25))
    resnet = torch.nn.Sequential(start, torchvision.models.resnet18())
    images = open_data("roadsigns", size=(224, 224), held_out_frames=8).held_out().images
    example = torch.zeros(1, 224, 224, 3, dtype=torch.uint8)
    runner = GraphRunner(trace(resnet.eval(), example, leaf_modules=[ImageInput]))
    found.append(Network("resnet18-224-untrained", runner, images, None, (1.0,)))
    return found


def codec_costs(network: Network, samples: int) -> dict[str, MeasuredCodec]:
    """Every codec on every tensor that some cut sends."""
    dag = network.dag
    numbers = range(1, len(dag.exits) + 1)
    names = list(dict.fromkeys(n for e in numbers for cut in cuts(dag, e) for n in cut.boundary))
    frames = [network.tensors(k, names) for k in range(min(samples, len(network.images)))]
    costs = {}
    for codec in CODEC_NAMES:
        tensors = {}
        for name in names:
            node = dag.by_name[name]
            if codec_named(codec).accepts(node.shape, node.dtype):
                found = measure(codec, [frame[name] for frame in frames], time.perf_counter)
                tensors[name] = TensorCost(found.mean_bytes, found.encode_s, found.decode_s)
        costs[codec] = MeasuredCodec(codec, tensors, default_loss=0.0)
    return costs


def table_of(
    network: Network, profile: DeviceProfile, codecs: Sequence[MeasuredCodec]
) -> CandidateTable:
    """The planner's table with these codecs, both devices being this machine."""
    return CandidateTable.build(
        network.dag, profile, profile, exit_quality=network.exit_quality, codecs=codecs
    )


def choose(table: CandidateTable, rate_bps: float, slowdown: float, deadline_s: float) -> Plan:
    """The planner's choice over this link."""
    link, sites = Hop(rate_bps, RTT_S), car_and_edge(car_slowdown=slowdown)
    return table.decide(
        Situation(sites, (link,), deadline_s, "latency", quality_tolerance=MOST_LOST)
    )


def accuracies(network: Network, cut: Boundary, codecs: Sequence[str]) -> dict[str, float]:
    """Share of right answers with the boundary through each codec."""
    assert network.labels is not None
    number, boundary = cut
    sink = network.dag.exit_sink(number)
    expected = {n: (network.dag.by_name[n].shape, network.dag.by_name[n].dtype) for n in boundary}
    right = dict.fromkeys(codecs, 0)
    for frame, label in enumerate(network.labels):
        tensors = network.tensors(frame, boundary)
        for codec in codecs:
            specs, data = encode(tensors, codec)
            back = decode(specs, data, codec, expected)
            right[codec] += int(network.run(back, [sink])[sink].argmax() == label)
    return {codec: hits / len(network.labels) for codec, hits in right.items()}


def favourites(
    network: Network, profile: DeviceProfile, costs: Mapping[str, MeasuredCodec]
) -> list[Boundary]:
    """The cuts inside the network that are chosen most often over all situations and codecs."""
    chosen: Counter[Boundary] = Counter()
    for codec in NUMERIC:
        table = table_of(network, profile, [costs[codec]])
        for situation in product(FIXED_RATES_BPS.values(), SLOWDOWNS, DEADLINES_S):
            plan = choose(table, *situation)
            if plan.boundary and plan.boundary != (network.dag.input,):
                chosen[plan.exit_number, plan.boundary] += 1
    return [cut for cut, _ in chosen.most_common(5)]


def judge(network: Network, costs: Mapping[str, MeasuredCodec]) -> dict[str, Any]:
    """Favourite cuts, the best codec there, and what it brings."""
    example = torch.from_numpy(network.images[:1])
    profile = measure_profile(network.runner, example, model_id=network.name)
    rows: list[dict[str, Any]] = []
    losses: dict[str, dict[Boundary, float]] = {codec: {} for codec in NUMERIC}
    for cut in favourites(network, profile, costs):
        sizes = {c: sum(costs[c].tensors[n].coded_bytes for n in cut[1]) for c in NUMERIC}
        row: dict[str, Any] = {"exit": cut[0], "boundary": cut[1], "f32_bytes": sizes["f32"]}
        row["share_of_f32"] = {c: round(sizes[c] / sizes["f32"], 3) for c in NUMERIC}
        if network.labels is not None:
            accuracy = accuracies(network, cut, NUMERIC)
            row["accuracy"] = {c: round(value, 4) for c, value in accuracy.items()}
            for codec, value in accuracy.items():
                losses[codec][cut] = max(0.0, accuracy["f32"] - value)
            good = [c for c in NUMERIC if losses[c][cut] <= MOST_LOST]
            best = min(good, key=lambda c: sizes[c])
            row |= {"best": best, "met": sizes[best] / sizes["f32"] <= 1 / 6}
        rows.append(row)
        print(f"  {json.dumps(row)}")
    result: dict[str, Any] = {"favourite_cuts": rows}
    if network.labels is None:
        return result
    cut = (len(network.dag.exits), (network.dag.input,))
    images = {c: costs[c].tensors[network.dag.input].coded_bytes for c in ("f32", *IMAGE)}
    found_accuracy = accuracies(network, cut, list(images))
    result["image"] = {
        c: {"bytes": round(images[c]), "accuracy": round(found_accuracy[c], 4)} for c in images
    }
    print(f"  image: {result['image']}")
    # What was not measured for accuracy is no candidate: it may not win by a guess.
    judged = [
        MeasuredCodec(c, costs[c].tensors, losses[c], 0.0 if c == "f32" else None) for c in NUMERIC
    ]
    tables = [table_of(network, profile, codecs) for codecs in (judged[:1], judged)]
    result["at_3g"] = []
    for slowdown in SLOWDOWNS:
        plain, coded = (choose(t, FIXED_RATES_BPS["3g"], slowdown, FOR_EVER_S) for t in tables)
        found = {
            "car_slowdown": slowdown,
            "f32_ms": round(1e3 * plain.latency_s, 2),
            "f32_boundary": plain.boundary,
            "best_ms": round(1e3 * coded.latency_s, 2),
            "best": coded.codec,
            "boundary": coded.boundary,
        }
        result["at_3g"].append(found)
        print(f"  at 1.1 Mbit/s: {found}")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=600, help="frames to judge accuracy by")
    parser.add_argument("--samples", type=int, default=20, help="frames to measure sizes on")
    parser.add_argument("--cifar10", type=Path, help="CIFAR-10's folder, for vgg16-cifar10")
    args = parser.parse_args()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"bench": "codec"}
    for network in networks(args.frames, args.cifar10):
        print(network.name)
        costs = codec_costs(network, args.samples)
        tensors = [n for n, c in costs["f32"].tensors.items() if n != network.dag.input]
        row: dict[str, Any] = {}
        for codec in CODEC_NAMES:
            names = [n for n in tensors if n in costs[codec].tensors] or [network.dag.input]
            full = [costs["f32"].tensors[n] for n in names]
            coded = [costs[codec].tensors[n] for n in names]
            raw = sum(c.coded_bytes for c in full)
            row[codec] = {
                "share_of_f32": round(sum(c.coded_bytes for c in coded) / raw, 3),
                "encode_MB_per_s": round(raw / sum(c.encode_s for c in coded) / 1e6),
                "decode_MB_per_s": round(raw / sum(c.decode_s for c in coded) / 1e6),
            }
            print(f"  {codec}: {row[codec]}")
        figures[network.name] = {"codecs": row} | judge(network, costs)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
