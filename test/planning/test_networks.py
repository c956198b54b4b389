"""The planner on torchvision's networks, as they are traced and folded for running."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch")

from dapdee_ros.graph.dag import ModelDag  # noqa: E402
from dapdee_ros.graph.runner import GraphRunner  # noqa: E402
from dapdee_ros.graph.torchvision_import import torchvision  # noqa: E402
from dapdee_ros.graph.trace import trace  # noqa: E402
from dapdee_ros.planning.codec_cost import AsIs  # noqa: E402
from dapdee_ros.planning.device_profile import DeviceProfile  # noqa: E402
from dapdee_ros.planning.min_cut import CutCosts, fastest_split  # noqa: E402
from dapdee_ros.planning.policies.published_cuts import PublishedCuts  # noqa: E402
from dapdee_ros.planning.policy import Problem, Situation  # noqa: E402
from dapdee_ros.planning.sites import Hop, Site, car_and_edge  # noqa: E402
from dapdee_ros.planning.table import CandidateTable  # noqa: E402

# Smallest sensible input sizes: the graphs are those of the full size.
NETWORKS = {
    "alexnet": 64,
    "vgg16": 32,
    "resnet18": 32,
    "resnet50": 32,
    "mobilenet_v2": 32,
    "googlenet": 32,
    "inception_v3": 80,
    "densenet121": 32,
    "squeezenet1_1": 32,
    "shufflenet_v2_x1_0": 32,
    "mobilenet_v3_large": 32,
    "efficientnet_b0": 32,
    "regnet_y_400mf": 32,
    "convnext_tiny": 32,
    "vit_b_16": 32,
}


def traced(name: str) -> ModelDag:
    torch.set_num_threads(1)
    arguments: dict[str, object] = {"weights": None}
    if name in ("googlenet", "inception_v3"):
        arguments |= {"init_weights": False, "aux_logits": False}
    if name == "vit_b_16":
        arguments["image_size"] = NETWORKS[name]
    # Weights do not matter here and initialising them takes seconds; RegNet computes with tensors.
    with torch.device("cpu" if name.startswith("regnet") else "meta"):
        model = torchvision.models.get_model(name, **arguments)
    model = model.to_empty(device="cpu").eval()
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.detach().zero_()
    size = NETWORKS[name]
    return GraphRunner(trace(model, torch.zeros(1, 3, size, size))).dag


def profile(
    rng: random.Random, dag: ModelDag, device: str, low: float, high: float
) -> DeviceProfile:
    seconds = {n.name: (n.flops * 1e-10 + 1e-5) * rng.uniform(low, high) for n in dag.nodes}
    return DeviceProfile("random", device, 1, seconds | {dag.input: 0.0}, "now")


@pytest.mark.parametrize("name", NETWORKS)
def test_exact_equals_the_minimum_cut(name: str) -> None:
    rng = random.Random(name)
    dag = traced(name)
    car, edge = profile(rng, dag, "car", 5, 9), profile(rng, dag, "edge", 0.1, 4)
    every = CandidateTable.build(dag, car, edge, exit_quality=[0.9])
    fewer = CandidateTable.build(dag, car, edge, exit_quality=[0.9], contract_above=0)
    assert len(fewer) < len(every)
    assert fewer.exact_up_to > 1
    boundaries = set()
    for exponent in (4.0, 5.0, 5.5, 6.0, 6.5, 7.0, 8.0):
        link, sites = Hop(10**exponent, rng.uniform(0, 0.01)), car_and_edge(rng.uniform(1, 3))
        plan = every.decide(Situation(sites, (link,), 1e6, "latency"))
        split = fastest_split(
            dag, 1, CutCosts.of(dag, 1, car, edge, AsIs(), Situation(sites, (link,), 1.0))
        )
        assert plan.latency_s == pytest.approx(split.latency_s, rel=1e-7)
        # The edge server is faster at every node, so contraction loses nothing.
        assert fewer.decide(Situation(sites, (link,), 1e6, "latency")).latency_s == pytest.approx(
            plan.latency_s
        )
        boundaries.add(plan.boundary)
        heavy_is_between_light_and_exact(dag, car, edge, every, link, sites)
    assert len(boundaries) > 1


def heavy_is_between_light_and_exact(
    dag: ModelDag,
    car: DeviceProfile,
    edge: DeviceProfile,
    table: CandidateTable,
    link: Hop,
    sites: tuple[Site, ...],
) -> None:
    situation = Situation(sites, (link,), 1e6, "throughput")
    published = PublishedCuts(Problem(dag, (car, edge), [0.9], [AsIs()]))
    heavy, light = published.heavy(1, situation, ""), published.light(1, situation, "")
    assert heavy.period_s <= light.period_s * (1 + 1e-9)
    best = table.decide(Situation(sites, (link,), 1e6, "throughput"))
    assert heavy.period_s >= best.period_s * (1 - 1e-9)
