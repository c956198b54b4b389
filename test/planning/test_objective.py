"""What is minimised: weights over latency, period and energy."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
from planning.random_networks import random_dag, random_profile
from planning.test_candidates import random_table, random_wishes
from planning.test_table import subsets

from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.core.settings import SettingError
from dapdee_ros.graph.dag import ModelDag
from dapdee_ros.planning.cost import EnergyPrices
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import ObjectiveError, PlanningError
from dapdee_ros.planning.objective import LATENCY, PERIOD, Objective
from dapdee_ros.planning.overhead import NO_OVERHEAD, Overhead
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policies.exact import Exact
from dapdee_ros.planning.policies.oracle import Oracle
from dapdee_ros.planning.policy import Problem
from dapdee_ros.planning.sites import Hop, Site, car_and_edge
from dapdee_ros.planning.situation import Situation
from dapdee_ros.planning.table import CandidateTable


def random_objective(rng: random.Random) -> Objective:
    weights = [rng.choice((0.0, 10 ** rng.uniform(-2, 2))) for _ in range(3)]
    return Objective(*weights) if any(weights) else LATENCY


def random_sites(rng: random.Random) -> tuple[Site, ...]:
    """Car and edge server, each with an overhead in two of three cases."""

    def site(id_: str) -> Site:
        overhead = Overhead(rng.uniform(0, 0.05), rng.uniform(0, 0.05), 10 ** rng.uniform(-8, -6))
        return Site(id_, 10 ** rng.uniform(-0.2, 1), rng.choice((NO_OVERHEAD, overhead, overhead)))

    return site("car"), site("edge")


def random_prices(rng: random.Random) -> EnergyPrices:
    return EnergyPrices(rng.uniform(0, 20), 10 ** rng.uniform(-9, -6), rng.choice((0.0, 2.0)))


def priced_by_hand(
    dag: ModelDag, car: DeviceProfile, edge: DeviceProfile, situation: Situation
) -> list[tuple[int, float, float, float]]:
    """Exit, T, P and E of every legal split, from the definitions alone."""
    link, prices = situation.link, situation.energy
    on_car, on_edge = situation.sites
    found = []
    for number, outputs in enumerate(dag.exits, start=1):
        part = {*outputs}
        for node in reversed(dag.nodes):
            if node.name in part:
                part |= set(node.inputs)
        for chosen in subsets([n.name for n in dag.nodes[1:] if n.name in part]):
            head = chosen | {dag.nodes[0].name}
            if any(not set(dag.by_name[v].inputs) <= head for v in head):
                continue
            tail = part - head
            sent = {u for v in tail for u in dag.by_name[v].inputs} & head
            sent |= {*outputs} & head if tail else set()
            sent_bytes = sum(dag.by_name[u].output_bytes for u in sent)
            car_s = on_car.slowdown * sum(car.node_seconds[v] for v in head)
            edge_s = on_edge.slowdown * sum(edge.node_seconds[v] for v in tail)
            car_s += on_car.overhead.frame_s
            if tail:
                car_s += on_car.overhead.crossing_s + on_car.overhead.s_per_byte * sent_bytes
                edge_s += on_edge.overhead.frame_s + on_edge.overhead.crossing_s
                edge_s += on_edge.overhead.s_per_byte * sent_bytes
            on_air_s = 8 * sent_bytes / link.rate_bps
            latency_s = car_s + edge_s + (link.rtt_s + on_air_s if tail else 0.0)
            period_s = max(car_s, on_air_s, edge_s, latency_s / situation.window)
            energy_j = prices.compute_w * car_s + prices.send_j_per_byte * sent_bytes
            energy_j += prices.wait_w * (latency_s - car_s)
            found.append((number, latency_s, period_s, energy_j))
    return found


def test_decide_equals_brute_force_for_random_weights() -> None:
    rng = random.Random(21)
    late = unlike_latency = unlike_period = 0
    for _ in range(300):
        dag = random_dag(rng)
        car, edge = random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.03)
        quality = [rng.choice((0.7, 0.8, 0.9)) for _ in dag.exits]
        table = CandidateTable.build(dag, car, edge, exit_quality=quality)
        situation = Situation(
            random_sites(rng),
            (Hop(10 ** rng.uniform(4.5, 8), rng.uniform(0, 0.2)),),
            10 ** rng.uniform(-1, 1),
            random_objective(rng),
            window=rng.choice((math.inf, 3)),
            energy=random_prices(rng),
        )
        splits = priced_by_hand(dag, car, edge, situation)
        plan = table.decide(situation)
        in_time = [split for split in splits if split[1] <= situation.deadline_s]
        assert plan.late == (not in_time)
        if plan.late:
            late += 1
            assert plan.latency_s == pytest.approx(min(split[1] for split in splits))
            continue
        best = max(quality[split[0] - 1] for split in in_time)
        level = [split for split in in_time if quality[split[0] - 1] == best]
        values = {split: situation.objective.of(*split[1:]) for split in level}
        assert plan.objective_s == pytest.approx(min(values.values()), rel=1e-9)
        assert plan.quality == best
        found = [split for split in level if split[1] == pytest.approx(plan.latency_s, rel=1e-9)]
        assert any(plan.energy_j == pytest.approx(split[3], rel=1e-9) for split in found)
        unlike_latency += plan.latency_s > 1.001 * min(split[1] for split in level)
        unlike_period += plan.period_s > 1.001 * min(split[2] for split in level)
    assert min(late, unlike_latency, unlike_period) > 10


def test_with_gates_and_codecs_dropping_dominated_candidates_changes_no_weighted_choice() -> None:
    rng = random.Random(22)
    decided = gated = 0
    for _ in range(60):
        few, every = random_table(rng, prune=False)
        raw = every.dag.image_forms
        for _ in range(10):
            link, sites, deadline_s, wishes = random_wishes(rng)
            wishes |= {"mode": random_objective(rng), "energy": random_prices(rng), "risk": 0.5}
            wishes["most_period_s"] = rng.choice((math.inf, deadline_s))
            situation = Situation(sites, (link,), deadline_s, **wishes)
            chosen, best = few.decide(situation), every.decide(situation)
            assert chosen.late == best.late
            if chosen.late:
                continue
            decided += 1
            gated += chosen.gate is not None
            assert chosen.objective_s == pytest.approx(best.objective_s, rel=1e-9)
            plans = [
                every.plan_at(
                    row, Situation(sites, (link,), 1.0, situation.mode, energy=situation.energy)
                )
                for row in range(len(every))
            ]
            level = [plan for plan in plans if _may_be_taken(plan, chosen, situation, raw)]
            assert chosen.objective_s <= min(p.objective_s for p in level) * (1 + 1e-9)
    assert decided > 100 and gated > 20


def _may_be_taken(plan: Plan, chosen: Plan, situation: Situation, raw: Collection[str]) -> bool:
    """Whether a plan is in time, keeps up, keeps the conditions, and is no less accurate."""
    link = situation.link
    on_air_s = 8 * plan.boundary_bytes / link.rate_bps if link.usable else 0.0
    worst_period_s = max(plan.head_s, on_air_s, plan.edge_s)
    return (
        (plan.device_only or link.usable)
        and plan.latency_s <= situation.deadline_s
        and plan.period_s <= situation.most_period_s
        and worst_period_s <= 2 * situation.most_period_s
        and (situation.gates or plan.gate is None)
        and not (situation.keep_raw_on_car and set(raw) & set(plan.boundary))
        and plan.quality >= chosen.quality
    )


def test_a_named_mode_is_the_objective_of_that_name() -> None:
    rng = random.Random(23)
    for _ in range(20):
        table, _ = random_table(rng, prune=True)
        link, sites, deadline_s, _ = random_wishes(rng)
        for name, objective in (("latency", LATENCY), ("throughput", PERIOD)):
            by_name = Situation(sites, (link,), deadline_s, name)
            assert by_name.objective == objective
            assert table.decide(by_name) == table.decide(replace(by_name, mode=objective))
        heavy = Situation(sites, (link,), deadline_s, load_score=0.4)
        assert heavy.objective == PERIOD
        assert replace(heavy, priority=True).objective == LATENCY
        assert replace(heavy, mode=Objective(1, 1), priority=True).objective == Objective(1, 1)


def test_the_energy_of_a_split_by_hand() -> None:
    prices = EnergyPrices(compute_w=10.0, send_j_per_byte=1e-3, wait_w=2.0)
    # 0.5 s of computing, 100 bytes, 0.3 s of waiting.
    assert prices.car_j(0.5, 100, 0.8) == pytest.approx(5.0 + 0.1 + 0.6)
    assert EnergyPrices(compute_w=10.0).car_j(0.5, 100, math.inf) == 5.0
    two = prices.car_j(np.array([0.5, 0.0]), np.array([100, 0]), np.array([0.8, 0.1]))
    assert two == pytest.approx([5.7, 0.2])
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(PlanningError, match="wait_w"):
            EnergyPrices(wait_w=wrong)


def test_the_oracle_counts_the_energy_of_what_it_truly_sends() -> None:
    rng = random.Random(24)
    for _ in range(30):
        dag = random_dag(rng)
        car, edge = random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.03)
        problem = Problem(dag, (car, edge), [0.9] * len(dag.exits))
        link = Hop(10 ** rng.uniform(5, 7), 0.01)

        def truth(head_s: object, sent_bytes: np.ndarray, link: Hop = link) -> np.ndarray:
            return link.rtt_s + 8 * sent_bytes / link.rate_bps

        situation = Situation(
            car_and_edge(), (link,), 100.0, random_objective(rng), energy=random_prices(rng)
        )
        foreseen = Oracle(problem).plan(replace(situation, true_transfer_s=truth))
        assert foreseen.objective_s == pytest.approx(Exact(problem).plan(situation).objective_s)


@pytest.mark.parametrize("weights", [(0, 0, 0), (-1, 1, 0), (math.nan, 1, 0), (1, math.inf, 0)])
def test_weights_that_make_no_sense_are_refused(weights: tuple[float, float, float]) -> None:
    with pytest.raises(ObjectiveError, match="weights of latency, period and energy"):
        Objective(*weights)


def test_settings_name_an_objective_or_give_its_weights() -> None:
    assert PlanningSettings(mode="throughput", period_weight=0.0).wanted == "throughput"
    settings = PlanningSettings(mode="weights", latency_weight=1.0, period_weight=3.0)
    assert settings.wanted == Objective(1.0, 3.0)
    situation = settings.situation(car_and_edge(), (Hop(1e6),), load_score=0.9)
    assert situation.objective == Objective(1.0, 3.0)
    assert str(situation.objective) == "1 latency + 3 period"
    with pytest.raises(SettingError, match="all 0 with mode weights"):
        PlanningSettings(mode="weights", latency_weight=0.0, period_weight=0.0)


def test_weights_lie_between_latency_and_period() -> None:
    rng = random.Random(25)
    table, _ = random_table(rng, prune=True)
    link, sites = Hop(3e6, 0.01), car_and_edge(5.0, 1.0)
    plans = [
        table.decide(Situation(sites, (link,), 10.0, objective, gates=False, window=4))
        for objective in (LATENCY, Objective(1, 0.5), Objective(1, 2), Objective(1, 8), PERIOD)
    ]
    for before, after in itertools.pairwise(plans):
        assert after.period_s <= before.period_s * (1 + 1e-9)
        assert after.latency_s >= before.latency_s * (1 - 1e-9)
