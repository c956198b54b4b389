"""Overheads in choices: what knows them, and that it is right."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from planning.random_networks import random_dag, random_profile
from planning.test_candidates import random_table, random_wishes
from planning.test_objective import random_sites

from dapdee_ros.core.frames import FramePlan
from dapdee_ros.core.programs import Programs
from dapdee_ros.graph.cuts import cuts
from dapdee_ros.planning.candidates import BYTES
from dapdee_ros.planning.cut_pool import CutPool
from dapdee_ros.planning.overhead import Overhead
from dapdee_ros.planning.policies.exact import Exact
from dapdee_ros.planning.policies.oracle import Oracle
from dapdee_ros.planning.policy import Problem, ask, make_policy
from dapdee_ros.planning.sites import Hop, Site
from dapdee_ros.planning.situation import Situation
from dapdee_ros.planning.view import Weights


def test_with_gates_and_codecs_dropping_dominated_candidates_changes_no_choice() -> None:
    rng = random.Random(31)
    decided = 0
    for _ in range(40):
        few, every = random_table(rng, prune=False)
        for _ in range(10):
            link, _, deadline_s, wishes = random_wishes(rng)
            situation = Situation(random_sites(rng), (link,), deadline_s, **wishes)
            chosen, best = few.decide(situation), every.decide(situation)
            assert chosen.late == best.late
            assert chosen.quality == best.quality
            decided += not chosen.late
            if not chosen.late:
                assert chosen.objective_s == pytest.approx(best.objective_s, rel=1e-9)
    assert decided > 100


def test_the_scan_prices_every_candidate_as_the_formulas_do() -> None:
    rng = random.Random(32)
    for _ in range(20):
        _, table = random_table(rng, prune=False)
        hop = Hop(10 ** rng.uniform(5, 8), 0.01)
        situation = Situation(random_sites(rng), (hop,), 1.0, window=3)
        weights = Weights.of(situation.sites, hop)
        worst, means = table.candidates.worst, table.candidates.expected
        latency_s, mean_s = weights.latency_s(worst), weights.latency_s(means)
        period_s, car_s = weights.period_s(means, 3), weights.car_s(worst)
        for row in range(len(table)):
            plan = table.plan_at(row, situation)
            assert latency_s[row] == pytest.approx(plan.latency_s)
            assert mean_s[row] == pytest.approx(plan.expected_latency_s)
            assert car_s[row] == pytest.approx(plan.head_s)
            if table.candidates.worst[BYTES, row]:
                assert period_s[row] == pytest.approx(plan.period_s)


def test_minimum_cuts_and_the_oracle_find_what_the_table_finds() -> None:
    rng = random.Random(33)
    for _ in range(40):
        dag = random_dag(rng)
        car, edge = random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.03)
        problem = Problem(dag, (car, edge), [0.9] * len(dag.exits))
        link = Hop(10 ** rng.uniform(5, 7), 0.01)
        situation = Situation(random_sites(rng), (link,), 100.0, "latency")
        best = Exact(problem).plan(situation)
        pooled = CutPool(problem).table(situation).decide(situation)
        assert pooled.latency_s == pytest.approx(best.latency_s)

        def truth(head_s: object, sent_bytes: np.ndarray, link: Hop = link) -> np.ndarray:
            return link.rtt_s + 8 * sent_bytes / link.rate_bps

        foreseen = Oracle(problem).plan(replace(situation, true_transfer_s=truth))
        assert foreseen.latency_s == pytest.approx(best.latency_s)


def test_published_policies_choose_without_overheads_and_are_priced_with_them() -> None:
    rng = random.Random(34)
    other = 0
    for _ in range(40):
        dag = random_dag(rng)
        car, edge = random_profile(rng, dag, "car", 0.1), random_profile(rng, dag, "edge", 0.03)
        problem = Problem(dag, (car, edge), [0.9] * len(dag.exits))
        sites = (
            Site("car", 1.0, Overhead(0.01, 0.03, 1e-6)),
            Site("edge", 1.0, Overhead(0.02, 0.0, 1e-7)),
        )
        mode = rng.choice(("latency", "throughput"))
        situation = Situation(sites, (Hop(10 ** rng.uniform(5, 7), 0.01),), 100.0, mode)
        for name in ("dads", "neurosurgeon", "edgent", "eddi", "dapdee"):
            policy = make_policy(name, problem)
            plan = ask(policy, situation, problem)
            assert plan.key == policy.plan(situation.without_overheads).key
            priced = situation.price(problem, plan.exit_number, plan.boundary, plan.codec, "")
            assert plan.stages == priced.stages
            assert plan.latency_s == pytest.approx(priced.latency_s)
            known = ask(make_policy(f"{name}+overheads", problem), situation, problem)
            if mode == "latency":  # all but two always plan for that
                assert known.latency_s <= plan.latency_s * (1 + 1e-9)
            other += known.key != plan.key
        exact = ask(make_policy("exact", problem), situation, problem)
        assert exact.objective_s <= plan.objective_s * (1 + 1e-9)
    assert other > 10


def test_what_a_cut_costs_is_priced_per_tensor_and_byte_but_not_for_the_input() -> None:
    rng = random.Random(36)
    dag = random_dag(rng, most_nodes=8)
    free = [random_profile(rng, dag, side, 0.1) for side in ("car", "edge")]
    car = replace(free[0], cut_s=0.01, cut_s_per_byte=1e-7)
    edge = replace(free[1], cut_s=0.002, cut_s_per_byte=3e-7)
    exits = len(dag.exits)
    before, now = (Problem(dag, sides, [0.9] * exits) for sides in (free, (car, edge)))
    situation = Situation((Site("car", 2.0), Site("edge", 3.0)), (Hop(1e6),), 100.0)
    several = 0
    for cut in cuts(dag, exits):
        old, new = (situation.price(p, exits, cut.boundary, "f32", "") for p in (before, now))
        computed = [n for n in cut.boundary if n != dag.input]
        size = sum(dag.by_name[name].output_bytes for name in computed)
        several += len(computed) > 1
        assert new.head_s - old.head_s == pytest.approx(2 * (0.01 * len(computed) + 1e-7 * size))
        if cut.boundary:
            more_s = 3 * (0.002 * len(computed) + 3e-7 * size)
            assert new.edge_s - old.edge_s == pytest.approx(more_s)
        # What runs there is profiled with it, so that a slowdown is one.
        for profile, programs in ((car, Programs(dag, car)), (edge, Programs(dag, edge))):
            if profile is car:
                head = programs.head_program(FramePlan(1, exits, cut.boundary))
                assert 2 * head.head_profiled_s == pytest.approx(new.head_s)
            elif cut.boundary:
                tail = programs.tail_program(exits, frozenset(cut.boundary))
                assert 3 * tail.profiled_s == pytest.approx(new.edge_s)
    assert several
    best = Exact(now).plan(situation)
    pooled = CutPool(now).table(situation).decide(situation)
    assert pooled.latency_s == pytest.approx(best.latency_s)
