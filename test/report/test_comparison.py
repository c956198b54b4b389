"""Which runs belong together, what they are called, and what each lost to the oracle."""

import copy
from pathlib import Path

import pytest
from report.recorded import recorded_drive, runs_of

from dapdee_ros.report.comparison import UNNAMED_POLICY, Run, compare
from dapdee_ros.report.run_log import FORESEES, PlanRecord, RunLog


def test_runs_of_one_scenario_stand_together_exact_and_oracle_first() -> None:
    runs = [*runs_of(["dads", "exact"], "a"), *runs_of(["exact"], "b"), *runs_of(["eddi"], "a")]
    groups = compare(runs)
    assert [(g.scenario, [r.name for r in g.runs]) for g in groups] == [
        ("a", ["exact", "dads", "eddi"]),
        ("b", ["exact"]),
    ]
    assert compare(runs_of(["exact", "dads"], None))[0].scenario is None


def test_the_policy_is_the_settings_or_the_one_that_planned() -> None:
    log = recorded_drive()
    assert Run(Path("run.json"), log).policy == UNNAMED_POLICY
    log.plans[-1].policy = "dads"
    assert Run(Path("run.json"), log).policy == "dads"
    log.settings["policy"] = "neurosurgeon+u8"
    assert Run(Path("run.json"), log).policy == "neurosurgeon+u8"
    assert Run(Path("run.json"), log).base_policy == "neurosurgeon"


def test_runs_of_one_policy_are_told_apart_by_what_differs() -> None:
    runs = runs_of(["exact", "exact", "exact", "dads"])
    for run, codecs, rate_hz in zip(runs, ("f32", "all", "all", "all"), (10, 10, 20, 10)):  # noqa: B905
        run.log.settings.update(codecs=codecs, rate_hz=rate_hz)
    compare(runs)
    assert [run.name for run in runs] == [
        "exact, f32",
        "exact, all, rate_hz 10",
        "exact, all, rate_hz 20",
        "dads",
    ]


def test_runs_with_the_same_settings_are_called_by_their_files() -> None:
    runs = runs_of(["exact"] * 3)
    runs[0].path = Path("monday/run.json")
    runs[1].path = Path("tuesday/run.json")
    runs[2].path = Path("tuesday/other/run.json")
    compare(runs)
    assert [run.name for run in runs] == ["exact, monday", "exact, tuesday", "exact, other"]
    runs[2].path = Path("x/tuesday/run.json")
    compare(runs)
    assert len({run.name for run in runs}) == 3


def test_regret_is_against_the_same_frames_of_the_oracle() -> None:
    slow, oracle = runs_of(["dads", "oracle"])
    for frame in slow.log.frames:
        frame.latency_s = 0.3 + frame.number * 1e-3
    for frame in oracle.log.frames:
        frame.latency_s = 0.2
    gone = slow.log.frames.pop()
    oracle.log.frames.reverse()  # the order does not matter, the number does
    comparison = compare([slow, oracle])[0]
    assert list(comparison.regrets) == ["dads"]
    regret = comparison.regrets["dads"]
    numbers = [frame.number for frame in slow.log.frames]
    mean_s = 0.1 + sum(numbers) / len(numbers) * 1e-3
    assert gone.number not in numbers
    assert regret.frames == len(numbers)
    assert regret.unmatched == 1
    assert regret.mean_s == pytest.approx(mean_s)
    assert regret.latency_ratio == pytest.approx((0.2 + mean_s) / 0.2)
    assert regret.p95_s > regret.median_s > 0
    assert regret.oracle == "oracle"


def test_whoever_foresees_is_the_bound_whatever_its_name() -> None:
    runs = runs_of(["dads", "mypkg:Seer"])
    assert compare(runs)[0].regrets == {}
    runs[1].log.settings[FORESEES] = True
    assert compare(runs)[0].regrets["dads"].oracle == "mypkg:Seer"


def test_regret_counts_late_frames_in_points() -> None:
    late, oracle = runs_of(["dads", "oracle"])
    late.log.ledger["deadline_misses"] = 22
    oracle.log.ledger["deadline_misses"] = 1
    assert compare([late, oracle])[0].regrets["dads"].late_points == pytest.approx(100 * 21 / 210)


def test_an_oracle_with_codecs_is_no_bound_for_a_run_without() -> None:
    runs = runs_of(["dads", "oracle", "oracle", "eddi"])
    for run, codecs in zip(runs, ("f32", "all", "f32", "u8"), strict=True):
        run.log.settings["codecs"] = codecs
    regrets = compare(runs)[0].regrets
    assert regrets["dads"].oracle == "oracle, f32"
    assert regrets["eddi"].oracle == "oracle, all"  # none has its codecs: the first


@pytest.mark.parametrize("scenario", [None, "drive"])
def test_without_an_oracle_or_a_scenario_there_is_no_regret(scenario: str | None) -> None:
    policies = ["exact", "dads"] if scenario else ["exact", "oracle"]
    assert compare(runs_of(policies, scenario))[0].regrets == {}


def test_an_oracle_that_answered_nothing_bounds_nothing() -> None:
    runs = runs_of(["exact", "oracle"])
    runs[1].log.frames = []
    assert compare(runs)[0].regrets == {}
    runs = runs_of(["exact", "oracle"])
    for frame in runs[1].log.frames:
        frame.number += 10_000
    assert compare(runs)[0].regrets == {}


def test_a_plan_alone_names_the_policy() -> None:
    log = RunLog(plans=[PlanRecord(0.0, 1, 1, [], "", False, 0.1, "", policy="edgent")])
    assert Run(Path("x.json"), copy.deepcopy(log)).policy == "edgent"
