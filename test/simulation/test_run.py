"""Whole simulated runs: times that can be added up by hand, and what must hold for every run."""

import random
from dataclasses import replace
from typing import Any

import pytest
from simulation.small_world import CAR_S, GATE, PLANNING, curves, problem, scenario

from dapdee_ros.core.frames import Place
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.planning.errors import PolicyError
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Policy, Problem, Situation
from dapdee_ros.runtime.head import SUPERSEDED
from dapdee_ros.simulation.figures import figures_of
from dapdee_ros.simulation.load_trace import LoadTrace, parse_load
from dapdee_ros.simulation.outcomes import SimulatedRun
from dapdee_ros.simulation.run import simulate
from dapdee_ros.simulation.scenario import Scenario, ScenarioError, Wire

POLICIES = ("exact", "oracle", "dapdee", "dads", "neurosurgeon", "edgent", "eddi", "device-only")


class Pinned:
    """The same plan whatever happens, but for a dead link."""

    def __init__(self, of: Problem, boundary: tuple[str, ...] = ("stem",), gate: int | None = None):
        self.of, self.boundary, self.gate = of, boundary, gate

    def plan(self, situation: Situation) -> Plan:
        boundary = self.boundary if situation.link.usable else ()
        return situation.price(self.of, 2, boundary, "f32", "pinned", gate=self.gate)


def pinned(of: Scenario, *arguments: object) -> SimulatedRun:
    policy: Policy = Pinned(of.problem, *arguments)  # type: ignore[arg-type]
    return simulate(of, "pinned", made=policy)


def settled(run: SimulatedRun, place: Place = Place.EDGE) -> list[float]:
    """Latencies at a place once the link is known."""
    return [
        o.result.latency_s for o in run.outcomes if o.result.place is place and o.accepted_s >= 5
    ]


def test_a_single_frame_takes_head_transfer_and_tail() -> None:
    run = pinned(scenario())
    # stem on the car, 4000 bytes at 8 Mbit/s and 10 ms, body and final on the edge.
    assert settled(run) == pytest.approx([0.02 + 0.004 + 0.01 + 0.008] * len(settled(run)))
    assert len(settled(run)) == 75
    outcome = run.outcomes[-1]
    assert outcome.result.head_s == pytest.approx(0.02)
    assert outcome.result.transfer_s == pytest.approx(0.014)
    assert outcome.result.tail_s == pytest.approx(0.008)


def test_slowdowns_stretch_their_own_side() -> None:
    run = pinned(scenario(car_load=LoadTrace(slowdowns=(3.0,)), edge_load=parse_load("1@0,5@12")))
    times = [
        (o.accepted_s, o.result.latency_s) for o in run.outcomes if o.result.place is Place.EDGE
    ]
    before = [latency for at_s, latency in times if 5 < at_s < 11]
    after = [latency for at_s, latency in times if at_s > 12]
    assert before == pytest.approx([0.06 + 0.014 + 0.008] * len(before))
    assert after == pytest.approx([0.06 + 0.014 + 0.04] * len(after))


def test_headers_and_answers_take_their_time() -> None:
    bare, real = (pinned(scenario("1mbit", wire=w)) for w in (scenario().wire, Wire()))
    # 4170 bytes go in 3 packets, the answer's 250 in one: 4254 and 278 bytes.
    extra_s = 8 * (4254 - 4000 + 278) / 1e6
    assert settled(real)[-1] == pytest.approx(settled(bare)[-1] + extra_s)


@pytest.mark.parametrize(
    ("link", "boundary", "period_s"),
    [
        ("100mbit", ("stem",), 0.02),  # the car is the slowest
        ("0.8mbit", ("stem",), 0.04),  # the link is
        ("8mbit", (), 0.1),  # nothing but the car works
    ],
)
def test_a_saturated_pipeline_runs_at_the_pace_of_its_slowest_part(
    link: str, boundary: tuple[str, ...], period_s: float
) -> None:
    of = scenario(link, rate_hz=None, seconds=30.0, planning=replace(PLANNING, deadline_s=1.0))
    figures = figures_of(pinned(of, boundary), from_s=10.0)
    assert figures.period_s == pytest.approx(period_s, rel=0.02)
    assert figures.drop_ratio == 0


def test_a_saturated_edge_runs_without_a_pause() -> None:
    of = scenario(
        "100mbit", rate_hz=None, seconds=30.0, edge_load=parse_load("5"), rtt_s=0.002,
        planning=replace(PLANNING, deadline_s=1.0, max_in_flight=2),
    )  # fmt: skip
    # stem takes 20 ms on the car, the rest 40 ms on the edge: one in work, one waiting.
    figures = figures_of(pinned(of), from_s=10.0)
    assert figures.period_s == pytest.approx(0.04, rel=0.02)
    assert figures.places == {"edge": 1.0}


def test_a_window_wider_than_the_edge_can_take_gives_way() -> None:
    of = scenario(
        "100mbit", rate_hz=None, seconds=30.0, edge_load=parse_load("5"), rtt_s=0.002,
        planning=replace(PLANNING, deadline_s=1.0, max_in_flight=8),
    )  # fmt: skip
    # The edge takes two frames at most; what it refuses, the car has to finish in 100 ms.
    figures = figures_of(pinned(of), from_s=10.0)
    assert figures.period_s == pytest.approx(0.04, rel=0.1)
    assert figures.places["edge"] > 0.95


def test_gates_end_their_share_on_the_car() -> None:
    of = scenario(problem=problem((GATE,)), curves=curves(), seconds=400.0)
    run = pinned(of, ("body",), 1)
    figures = figures_of(run, from_s=5.0)
    assert figures.exits[1] == pytest.approx(GATE.share, abs=0.03)
    assert figures.quality == pytest.approx(GATE.quality, abs=1e-6)
    gated = {round(o.result.latency_s, 6) for o in run.outcomes if o.result.exit_number == 1}
    assert gated == {round(CAR_S["stem"] + CAR_S["early"], 6)}


def test_the_same_frames_are_easy_for_every_policy() -> None:
    of = scenario(problem=problem((GATE,)), curves=curves(), seconds=60.0)
    by_boundary = [pinned(of, (name,), 1) for name in ("stem", "body")]
    easy = [
        {o.result.number for o in run.outcomes if o.result.exit_number == 1} for run in by_boundary
    ]
    begun_alike = {o.result.number for o in by_boundary[0].outcomes if o.accepted_s > 5}
    assert easy[0] & begun_alike == easy[1] & begun_alike


def test_in_an_outage_the_car_answers_in_time() -> None:
    of = scenario("steps:8@0,0@10,8@15", seconds=25.0)
    run = pinned(of)
    fallbacks = [o for o in run.outcomes if o.result.place is Place.CAR_FALLBACK]
    assert fallbacks
    assert all(10 < o.at_s < 16 for o in fallbacks)
    # The thread may just have begun another frame when one falls due: late by that much at most.
    late = [o for o in run.outcomes if o.result.latency_s > 0.3 + 1e-9]
    assert len(late) <= 1
    assert all(o.result.latency_s <= 1.2 * 0.3 for o in late)
    # Then the manager knows, and the car works alone; afterwards the edge is in use again.
    assert any(o.result.place is Place.CAR for o in run.outcomes if 12 < o.at_s < 15)
    assert all(o.result.place is Place.EDGE for o in run.outcomes if o.at_s > 18)


def test_a_frame_that_finds_the_mailbox_taken_displaces_the_other() -> None:
    of = scenario("8mbit", rate_hz=25.0)
    run = pinned(of, ())
    # 100 ms a frame on the car, 40 ms between them: 3 of 5 are displaced.
    assert run.log.ledger["drop_reasons"] == [SUPERSEDED]
    assert run.log.ledger["drops"] / run.log.ledger["accepted"] == pytest.approx(0.6, abs=0.02)
    answered = {frame.number for frame in run.log.frames}
    dropped = [drop.number for drop in run.log.drops]
    assert len(dropped) == run.log.ledger["drops"] and not answered & set(dropped)
    # The second frame finds the mailbox empty, the third finds it taken.
    assert (dropped[0], run.log.drops[0].at_s) == (2, pytest.approx(0.08))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("link", ["drive", "steps:5@0,0@3,0.1@6,20@9", "0.001mbit"])
def test_every_frame_ends_exactly_once(policy: str, link: str) -> None:
    rng = random.Random(f"{policy} {link}")
    for rate_hz in (rng.uniform(1, 60), None):
        of = scenario(
            link, problem=problem((GATE,)), curves=curves(), seconds=15.0, rate_hz=rate_hz,
            jitter=0.3, seed=rng.randrange(1000), wire=Wire(), planning=PlanningSettings(),
            car_load=parse_load("1@0,4@5,1@10"), queue_bytes=20_000,
        )  # fmt: skip
        run = simulate(of, policy)
        ledger = run.log.ledger
        assert ledger["accepted"] == ledger["results"] + ledger["drops"]
        assert ledger["in_flight"] == 0
        assert ledger["results"] == len(run.outcomes) > 0
        assert len({o.result.number for o in run.outcomes}) == len(run.outcomes)
        assert not run.complaints


def test_the_same_input_gives_the_same_run() -> None:
    of = scenario("drive", jitter=0.4, seed=3, problem=problem((GATE,)), curves=curves())
    first, again = (simulate(of, "exact").log for _ in range(2))
    assert first == again
    other = simulate(replace(of, seed=4), "exact").log
    assert [f.at_s for f in other.frames] != [f.at_s for f in first.frames]
    assert first.settings["scenario"] != other.settings["scenario"]


def test_policies_share_the_scenario_of_a_run() -> None:
    logs = [simulate(scenario(seconds=3.0), name).log for name in ("exact", "dads")]
    assert logs[0].settings["scenario"] == logs[1].settings["scenario"]
    assert [log.settings["policy"] for log in logs] == ["exact", "dads"]


def test_the_oracle_sees_a_tunnel_coming() -> None:
    of = scenario("steps:8@0,0@10,8@14", seconds=20.0, rate_hz=10.0)
    runs = {name: simulate(of, name) for name in ("oracle", "exact")}
    assert all(o.result.place is not Place.CAR_FALLBACK for o in runs["oracle"].outcomes)
    means = {name: figures_of(run, from_s=5.0).mean_latency_s for name, run in runs.items()}
    assert means["oracle"] < means["exact"] < 1.3 * means["oracle"]


def test_on_a_steady_link_exact_is_as_good_as_the_oracle() -> None:
    runs = [simulate(scenario(), name) for name in ("exact", "oracle")]
    exact, oracle = (figures_of(run, from_s=5.0).mean_latency_s for run in runs)
    assert exact == pytest.approx(oracle, rel=0.01)


def test_what_makes_no_sense_is_refused() -> None:
    changes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"rate_hz": -1.0}, "rate_hz is -1.0"),
        ({"seconds": 0.0}, "seconds is 0.0"),
        ({"rtt_s": float("nan")}, "rtt_s is nan"),
        ({"jitter": 0.7}, "jitter is 0.7"),
    )
    for change, words in changes:
        with pytest.raises(ScenarioError, match=words):
            scenario(**change)
    with pytest.raises(PolicyError, match="'best' is unknown"):
        simulate(scenario(), "best")


def test_a_policy_that_fails_leaves_the_car_alone() -> None:
    class Failing:
        def plan(self, situation: Situation) -> Plan:
            raise RuntimeError("out of ideas")

    run = simulate(scenario(seconds=5.0), "failing", made=Failing())
    assert run.log.ledger["results"] == 25
    assert all(o.result.place is Place.CAR for o in run.outcomes)
    assert any("out of ideas" in complaint for complaint in run.complaints)


def test_a_policy_that_always_sends_is_followed_without_a_link() -> None:
    run = simulate(scenario("steps:8@0,0@10,8@15"), "edge-only")
    first, *again = run.log.plans
    # Before anything is known of the link, as the live manager tells it and the live head takes it.
    assert (first.at_s, first.boundary, first.late) == (0.0, ["image"], True)
    # Always the same; told again when its answers were found to take another time.
    assert all("predicted anew" in p.reason and p.boundary == ["image"] for p in again)
    assert len(again) <= 4
    assert {o.result.place for o in run.outcomes if o.accepted_s < 0.1} == {Place.EDGE}
    assert {o.result.place for o in run.outcomes if 11 < o.accepted_s < 14} == {Place.CAR_FALLBACK}
    assert settled(run)[0] == pytest.approx(0.012 + 0.01 + 0.01)
