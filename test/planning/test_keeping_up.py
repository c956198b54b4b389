"""Plans that keep up with the frames: the bound on the period."""

import math
import random

import pytest
from planning.random_networks import random_dag, random_profile

from dapdee_ros.graph.dag import ModelDag, Node
from dapdee_ros.planning.codec_cost import GateOption
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.sites import Hop, car_and_edge
from dapdee_ros.planning.situation import Situation
from dapdee_ros.planning.table import CandidateTable


def worst_period_s(plan: Plan, link: Hop, window: float) -> float:
    sending_s = 8 * plan.boundary_bytes / link.rate_bps if plan.boundary else 0.0
    return max(plan.head_s, sending_s, plan.edge_s, plan.latency_s / window)


@pytest.mark.parametrize("window", [math.inf, 1, 3])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_the_bound_leaves_what_a_search_through_all_plans_leaves(
    mode: str, gated: bool, window: float
) -> None:
    rng = random.Random(5)
    kept_up = fell_behind = 0
    for _ in range(250):
        dag = random_dag(rng)
        car, edge = random_profile(rng, dag, "car", 1.0), random_profile(rng, dag, "edge", 0.1)
        quality = sorted(round(rng.uniform(0.5, 1.0), 2) for _ in dag.exits)
        rate_bps, rtt_s = 10 ** rng.uniform(3, 7), rng.uniform(0, 0.1)
        link, sites = Hop(rate_bps, rtt_s), car_and_edge()
        gates = [
            GateOption(1, later, 0.9, rng.uniform(0.1, 0.9), quality[later - 1] - 0.01)
            for later in range(2, len(quality) + 1)
            if gated
        ]
        every = CandidateTable.build(dag, car, edge, exit_quality=quality, gates=gates, prune=False)
        plans = [
            every.plan_at(row, Situation(sites, (link,), 1.0, mode, window=window))
            for row in range(len(every.candidates))
        ]
        some = rng.choice(plans)
        deadline_s, most_period_s = 1.5 * some.latency_s, rng.uniform(0.5, 1.5) * some.period_s
        table = CandidateTable.build(dag, car, edge, exit_quality=quality, gates=gates)
        chosen = table.decide(
            Situation(sites, (link,), deadline_s, mode, most_period_s=most_period_s, window=window)
        )
        following = [
            p
            for p in plans
            if p.period_s <= most_period_s and worst_period_s(p, link, window) <= 2 * most_period_s
        ]
        fitting = [p for p in following if p.latency_s <= deadline_s]
        if not fitting:
            fell_behind += 1
            assert chosen.late
            if following:
                assert chosen.latency_s == pytest.approx(min(p.latency_s for p in following))
            else:
                assert chosen.period_s == pytest.approx(min(p.period_s for p in plans))
            continue
        kept_up += 1
        # What a plan without a gate can reach is to be kept, if there is one.
        best = max(p.quality for p in [p for p in fitting if p.gate is None] or fitting)
        allowed = [p for p in fitting if p.quality >= best - 1e-9]
        objectives = [p.objective_s for p in allowed]
        assert not chosen.late
        assert chosen.key in [p.key for p in allowed]
        if all(p.gate is None for p in allowed):
            assert chosen.quality == pytest.approx(best)
        assert chosen.period_s <= most_period_s
        assert chosen.objective_s == pytest.approx(min(objectives))
    assert min(kept_up, fell_behind) > 10


def test_where_the_window_limits_a_shorter_latency_gives_more_frames() -> None:
    sizes = {"image": 75_000, "front": 6_250, "back": 40}
    names = list(sizes)
    nodes = tuple(
        Node(name, "conv2d" if i else "input", (names[i - 1],) if i else (), (1, size // 4),
             "float32", size, 1)
        for i, (name, size) in enumerate(sizes.items())
    )  # fmt: skip
    car, edge = (
        DeviceProfile("m", device, 1, dict(zip(names, seconds, strict=True)), "2026-11-21T00:00:00")
        for device, seconds in (("car", (0.0, 7e-3, 0.05)), ("edge", (0.0, 3e-3, 3e-3)))
    )
    table = CandidateTable.build(ModelDag(nodes, (("back",),)), car, edge, exit_quality=[0.9])
    link = Hop(100e6, rtt_s=0.02)
    wide = table.decide(Situation(car_and_edge(), (link,), 1.0, "throughput"))
    narrow = table.decide(Situation(car_and_edge(), (link,), 1.0, "throughput", window=3))
    # With images the link and the edge server take 6 ms a frame, with the front the car takes 7.
    assert (wide.boundary, wide.period_s) == (("image",), pytest.approx(6e-3))
    # Three at a time of 7 + 20.5 + 3 ms each, where with images it were 26 + 6.
    assert (narrow.boundary, narrow.period_s) == (("front",), pytest.approx(30.5e-3 / 3))


def test_a_window_below_one_frame_is_refused() -> None:
    for window in (0, -1, math.nan):
        with pytest.raises(PlanningError, match="window"):
            Situation(car_and_edge(), (Hop(1e6),), 1.0, window=window)
