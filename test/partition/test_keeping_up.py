"""Plans that keep up with the frames: the bound on the period."""

import random

import pytest
from partition.random_networks import random_dag, random_profile

from dapdee_ros.partition.codec_cost import GateOption
from dapdee_ros.partition.cost import LinkState, LoadState
from dapdee_ros.partition.plan import Plan
from dapdee_ros.partition.table import CandidateTable


def worst_period_s(plan: Plan, link: LinkState) -> float:
    sending_s = 8 * plan.boundary_bytes / link.uplink_bps if plan.boundary else 0.0
    return max(plan.head_s, sending_s, plan.edge_s)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("mode", ["latency", "throughput"])
def test_the_bound_leaves_what_a_search_through_all_plans_leaves(mode: str, gated: bool) -> None:
    rng = random.Random(5)
    kept_up = fell_behind = 0
    for _ in range(150):
        dag = random_dag(rng)
        car, edge = random_profile(rng, dag, "car", 1.0), random_profile(rng, dag, "edge", 0.1)
        accuracy = sorted(round(rng.uniform(0.5, 1.0), 2) for _ in dag.exits)
        link, load = LinkState(10 ** rng.uniform(3, 7), rng.uniform(0, 0.1)), LoadState()
        gates = [
            GateOption(1, later, 0.9, rng.uniform(0.1, 0.9), accuracy[later - 1] - 0.01)
            for later in range(2, len(accuracy) + 1)
            if gated
        ]
        every = CandidateTable.build(
            dag, car, edge, exit_accuracy=accuracy, gates=gates, prune=False
        )
        plans = [every.plan_at(row, link, load, mode) for row in range(len(every.candidates))]
        some = rng.choice(plans)
        deadline_s, most_period_s = 1.5 * some.latency_s, rng.uniform(0.5, 1.5) * some.period_s
        table = CandidateTable.build(dag, car, edge, exit_accuracy=accuracy, gates=gates)
        chosen = table.decide(link, load, deadline_s, mode, most_period_s=most_period_s)
        following = [
            p
            for p in plans
            if p.period_s <= most_period_s and worst_period_s(p, link) <= 2 * most_period_s
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
        best = max(p.accuracy for p in [p for p in fitting if p.gate is None] or fitting)
        allowed = [p for p in fitting if p.accuracy >= best - 1e-9]
        objectives = [p.objective_s for p in allowed]
        assert not chosen.late
        assert chosen.key in [p.key for p in allowed]
        if all(p.gate is None for p in allowed):
            assert chosen.accuracy == pytest.approx(best)
        assert chosen.period_s <= most_period_s
        assert chosen.objective_s == pytest.approx(min(objectives))
    assert min(kept_up, fell_behind) > 10
