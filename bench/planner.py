"""How long does a decision take, and a minimum cut, and the paper's search for the same?

The search by minimum cuts, as where cuts are too many to list, and over listed cuts.

Networks of torchvision at their own input sizes with five exits, on two profiles measured on this
machine (the car on one thread, the edge server on two) and random links, slowdowns and deadlines.
Ratios compare times of this one run. Ends with one JSON line.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import networkx
import torch
from networkx.algorithms import flow
from torch import Tensor, nn

from dapdee_ros.exits.multi_exit import ImageInput, MultiExit
from dapdee_ros.exits.placement import bottlenecks
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.torchvision_import import torchvision
from dapdee_ros.graph.trace import trace
from dapdee_ros.planning.codec_cost import AsIs
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.heavy_search import heavy_search
from dapdee_ros.planning.min_cut import CAR_SIDE, EDGE_SIDE, CutCosts, cut_graph, split_of
from dapdee_ros.planning.policies.published_cuts import PublishedCuts
from dapdee_ros.planning.policy import Problem, Situation
from dapdee_ros.planning.sites import Hop, Site, car_and_edge
from dapdee_ros.planning.table import CandidateTable
from dapdee_ros.runtime.profiling import measure_profile

NETWORKS = (
    "alexnet", "vgg16", "resnet18", "resnet50", "mobilenet_v2", "googlenet", "inception_v3",
    "densenet121", "squeezenet1_1", "shufflenet_v2_x1_0", "efficientnet_b0", "regnet_y_400mf",
    "convnext_tiny", "vit_b_16",
)  # fmt: skip
EARLY_EXITS = 4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FLOWS = {
    "preflow_push": flow.preflow_push,
    "shortest_augmenting_path": flow.shortest_augmenting_path,
    "dinitz": flow.dinitz,
    "boykov_kolmogorov": flow.boykov_kolmogorov,
    "edmonds_karp": flow.edmonds_karp,
}
Where = tuple[tuple[Site, ...], tuple[Hop, ...], float]


class TokenExits(nn.Module):
    """A vision transformer with linear exits on the mean token of some of its blocks."""

    def __init__(self, backbone: nn.Module, size: int) -> None:
        super().__init__()
        dag = trace(backbone, torch.zeros(1, 3, size, size)).dag
        blocks = [n for n in bottlenecks(dag) if len(dag.by_name[n].shape) == 3]
        taps = [blocks[len(blocks) * k // (EARLY_EXITS + 1)] for k in range(1, EARLY_EXITS + 1)]
        self.outputs = [*taps, dag.exit_sink(len(dag.exits))]
        self.normalise = ImageInput(MEAN, STD)
        self.backbone = torchvision.models.feature_extraction.create_feature_extractor(
            backbone, self.outputs
        )
        self.branches = nn.ModuleList(nn.Linear(dag.by_name[t].shape[-1], 1000) for t in taps)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Logits of every exit for uint8 ``(1, H, W, 3)``."""
        features = self.backbone(self.normalise(image))
        early = [
            branch(features[tap].mean(1))
            for branch, tap in zip(self.branches, self.outputs, strict=False)
        ]
        return (*early, features[self.outputs[-1]])


def network(name: str, repeats: int) -> tuple[ModelDag, DeviceProfile, DeviceProfile]:
    """The network's DAG and its profiles on one and on two threads."""
    size = 299 if name == "inception_v3" else 224
    arguments: dict[str, Any] = {"weights": None}
    if name in ("googlenet", "inception_v3"):
        arguments |= {"init_weights": False, "aux_logits": False}
    torch.manual_seed(0)
    backbone = torchvision.models.get_model(name, **arguments).eval()
    model = (
        TokenExits(backbone, size)
        if name == "vit_b_16"
        else MultiExit(backbone, EARLY_EXITS, input_size=(size, size), mean=MEAN, std=STD)
    )
    image = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    runner = GraphRunner(trace(model.eval(), image))
    car, edge = (
        measure_profile(runner, image, model_id=name, threads=threads, repeats=repeats)
        for threads in (1, 2)
    )
    return runner.dag, car, edge


def situations(rng: random.Random, count: int, whole_s: float) -> list[Where]:
    """Links from 0.1 to 100 Mbit/s, cars up to 30 times slower, deadlines around the whole."""
    return [
        (
            car_and_edge(10 ** rng.uniform(0, 1.5), 10 ** rng.uniform(0, 0.5)),
            (Hop(10 ** rng.uniform(5, 8), rng.uniform(0.005, 0.1)),),
            whole_s * 10 ** rng.uniform(0, 2),
        )
        for _ in range(count)
    ]


def seconds(calls: Sequence[Callable[[], Any]]) -> list[float]:
    """How long each call takes."""
    took = []
    gc.disable()
    for call in calls:
        started = time.perf_counter()
        call()
        took.append(time.perf_counter() - started)
    gc.enable()
    return took


def decide_s(table: CandidateTable, where: Sequence[Where], mode: str) -> float:
    """Median seconds of a decision."""
    table.decide(Situation(*where[0]))
    situations = [Situation(*s, mode) for s in where]
    return median(
        seconds([lambda s=s: table.decide(s) for s in situations])  # type: ignore[misc]
    )


def study(name: str, args: argparse.Namespace) -> dict[str, Any]:
    """All figures of one network."""
    dag, car, edge = network(name, args.repeats)
    exits = len(dag.exits)
    quality = [0.5 + 0.1 * i for i in range(exits)]
    started = time.perf_counter()
    table = CandidateTable.build(dag, car, edge, exit_quality=quality)
    build_s = time.perf_counter() - started
    rng = random.Random(name)
    where = situations(rng, args.situations, car.total_s)
    figures: dict[str, Any] = {
        "nodes": len(dag.nodes),
        "exits": exits,
        "candidates": len(table),
        "contracted": table.dag is not dag,
        "build_s": round(build_s, 3),
    }
    figures["late_share"] = round(
        sum(table.decide(Situation(*s)).late for s in where) / len(where), 3
    )
    for mode in ("latency", "throughput"):
        figures[f"decide_{mode}_us"] = round(decide_s(table, where, mode) * 1e6, 1)

    # One exit: the deepest alone, the same graph for both.
    part = dag.exit_part(len(dag.exits))
    alone = ModelDag(tuple(n for n in dag.nodes if n.name in part), (dag.exits[-1],))
    one = CandidateTable.build(alone, car, edge, exit_quality=[0.9])
    graphs = []
    for sites, hops, _ in where[: args.cuts]:
        costs = CutCosts.of(alone, 1, car, edge, AsIs(), Situation(sites, hops, 1.0))
        graphs.append(cut_graph(alone, costs))
    by_flow = {
        flow_name: median(
            seconds(
                [
                    lambda g=g, f=f: networkx.minimum_cut(  # type: ignore[misc]
                        g, CAR_SIDE, EDGE_SIDE, flow_func=f
                    )
                    for g in graphs
                ]
            )
        )
        for flow_name, f in FLOWS.items()
    }
    best_flow = min(by_flow, key=lambda n: by_flow[n])
    one_s = {mode: decide_s(one, where, mode) for mode in ("latency", "throughput")}
    figures |= {
        "one_exit_candidates": len(one),
        "one_exit_decide_us": {mode: round(s * 1e6, 1) for mode, s in one_s.items()},
        "minimum_cut_ms": round(by_flow[best_flow] * 1e3, 2),
        "minimum_cut_by": best_flow,
        "minimum_cut_over_decide": round(by_flow[best_flow] / one_s["latency"]),
    }

    searches, worse, listed, listed_worse = [], [], [], []
    published = PublishedCuts(Problem(alone, (car, edge), [0.9]))
    for sites, hops, _ in where[: args.searches]:
        costs = CutCosts.of(alone, 1, car, edge, AsIs(), Situation(sites, hops, 1.0))
        started = time.perf_counter()
        found = heavy_search(alone, 1, costs, max_cuts=args.max_cuts, flow_func=FLOWS[best_flow])
        searches.append(time.perf_counter() - started)
        exact = one.decide(Situation(sites, hops, 1e9, "throughput"))
        assert split_of(alone, 1, found.split.head, costs).period_s == found.split.period_s
        worse.append(found.split.period_s / exact.period_s)
        situation = Situation(sites, hops, 1e9, "throughput")
        published.heavy(1, situation, "")  # lists the cuts, once
        started = time.perf_counter()
        best = published.heavy(1, situation, "")
        listed.append(time.perf_counter() - started)
        listed_worse.append(best.period_s / exact.period_s)
        figures["search_cuts"] = found.cuts
        figures["search_capped"] = found.capped
    return figures | {
        "search_s": round(median(searches), 2),
        "search_over_decide": round(median(searches) / one_s["throughput"]),
        "search_period_over_exact": [round(min(worse), 4), round(max(worse), 4)],
        "listed_search_ms": round(1e3 * median(listed), 2),
        "listed_search_period_over_exact": [
            round(min(listed_worse), 4),
            round(max(listed_worse), 4),
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="*", default=NETWORKS)
    parser.add_argument("--situations", type=int, default=2000)
    parser.add_argument("--cuts", type=int, default=5, help="minimum cuts a flow function")
    parser.add_argument("--searches", type=int, default=3, help="heavy-load searches a network")
    parser.add_argument("--max-cuts", type=int, default=400, help="cap on the cuts of a search")
    parser.add_argument("--repeats", type=int, default=5, help="runs that a profile is made of")
    args = parser.parse_args()
    started = time.perf_counter()
    torch.set_num_threads(1)
    figures: dict[str, Any] = {}
    for name in args.networks:
        figures[name] = study(name, args)
        print(name, json.dumps(figures[name]), flush=True)
    print(json.dumps({"networks": figures, "wall_s": round(time.perf_counter() - started, 1)}))


if __name__ == "__main__":
    main()
