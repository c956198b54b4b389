"""Drives over traces, and policies that remember."""

from pathlib import Path
from typing import Any

import pytest
from simulation.small_world import GATE, curves, problem

from dapdee_ros.experiment.regret import beside_former, find_traces, run_drive
from dapdee_ros.experiment.remembered import Remembered
from dapdee_ros.experiment.subjects import Subject
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Situation
from dapdee_ros.planning.sites import Hop, car_and_edge
from dapdee_ros.simulation.link_text import parse_link

TRACES = Path(__file__).resolve().parents[3] / "shared" / "traces"


@pytest.fixture(scope="module")
def subject() -> Subject:
    of = problem((GATE,))
    return Subject("small", {"f32": of, "all": of}, curves(), "made up for a test")


def test_regret_counts_against_the_oracle(subject: Subject) -> None:
    drive = run_drive(
        subject, parse_link("drive"), policies=("oracle", "exact", "device-only", "nobody")
    )
    assert list(drive.figures) == ["oracle", "exact", "device-only"]
    assert drive.regret("oracle") == 1.0
    assert drive.more_misses("oracle") == 0.0
    assert drive.met() == (drive.regret("exact") <= 1.1 and drive.more_misses("exact") <= 0.03)
    assert 1.0 <= drive.regret("exact") < drive.regret("device-only")
    assert drive.to_dict()["policies"]["exact"]["regret"] == round(drive.regret("exact"), 4)


@pytest.mark.parametrize("name", ["ATT-LTE-driving", "Verizon-LTE-short"])
def test_exact_on_measured_drives(subject: Subject, name: str) -> None:
    traces, missing = find_traces(TRACES)
    if name not in traces:
        pytest.skip(f"the measured traces are not there: {', '.join(missing)} in {TRACES}")
    drive = run_drive(subject, traces[name], policies=("oracle", "exact"), seconds=140)
    assert drive.met(), drive.to_dict()["policies"]["exact"]


def test_networks_that_were_not_run_again_keep_their_drives() -> None:
    def results(*models: str, processor: str = "P", latency_s: float = 1.0) -> dict[str, Any]:
        return {
            "machine": {"processor": processor},
            "car_slowdown": 10.0,
            "rtt_s": 0.02,
            "subjects": [{"name": model} for model in models],
            "drives": [{"model": m, "link": k, "s": latency_s} for m in models for k in "AB"],
        }

    found = beside_former(results("b", "c", latency_s=2.0), results("a", "b"))
    assert [subject["name"] for subject in found["subjects"]] == ["a", "b", "c"]
    assert [(d["model"], d["s"]) for d in found["drives"]] == [
        ("a", 1.0), ("a", 1.0), ("b", 2.0), ("b", 2.0), ("c", 2.0), ("c", 2.0)
    ]  # fmt: skip
    alone = results("b")
    assert beside_former(alone, results("a", processor="another")) == alone
    assert beside_former(alone, {**results("a"), "car_slowdown": 5.0}) == alone


def test_a_policy_is_asked_once_for_nearly_the_same() -> None:
    class Counting:
        asked = 0

        def plan(self, situation: Situation) -> Plan:
            self.asked += 1
            return Plan(1)

    policy = Counting()
    remembered = Remembered(policy)

    def ask(rate_bps: float, slowdown: float = 1.0, mode: str = "latency") -> int:
        link = Hop(rate_bps, 0.02)
        remembered.plan(Situation(car_and_edge(slowdown), (link,), 0.3, mode))
        return policy.asked

    assert [ask(1e6), ask(1.001e6), ask(1.1e6), ask(1e6)] == [1, 1, 2, 2]
    assert [ask(1e6, 2.0), ask(1e6, mode="throughput"), ask(0.0), ask(0.0)] == [3, 4, 5, 5]
