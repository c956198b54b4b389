"""Cells of the matrix: identical input, the right rival, and ours not behind it."""

import math
from dataclasses import replace

import pytest
from simulation.small_world import GATE, QUALITY, curves, problem

from dapdee_ros.experiment.framed import FRAMED_WIRE, framed
from dapdee_ros.experiment.matrix import (
    LINKS,
    LOADS,
    MOST_RATIO,
    Cell,
    cell_scenario,
    former_gains,
    not_met,
    run_cell,
    run_matrix,
)
from dapdee_ros.experiment.subjects import MODELS, Subject, available
from dapdee_ros.planning.policy import Problem
from dapdee_ros.simulation.figures import Figures
from dapdee_ros.simulation.run import simulate
from dapdee_ros.simulation.scenario import Wire

RIVALS = ("device-only", "edge-only", "neurosurgeon", "branchynet", "edgent", "eddi", "dads")


@pytest.fixture(scope="module")
def subject() -> Subject:
    of = problem((GATE,))
    return Subject("small", {"f32": of, "all": of}, curves(), "made up for a test")


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("link", LINKS)
def test_ours_is_not_behind_the_best_rival(subject: Subject, link: str, load: str) -> None:
    cell = run_cell(subject, link, load, "f32", RIVALS)
    assert set(cell.figures) == {*RIVALS, "exact", "exact (0.1 pt)"}
    for ours in cell.ours:
        assert cell.rivals(ours)
        assert cell.ratio(ours) <= MOST_RATIO
    assert cell.to_dict()["against_best_rival"]["exact"]["met"]


def test_a_framed_problem_takes_what_it_is_planned_with(subject: Subject) -> None:
    # With headers counted twice or not at all the two would differ by 30 ms on this link.
    scenario = cell_scenario(subject, "cat1", "light", "f32")
    alike = replace(scenario, problem=subject.problems["f32"], wire=Wire())
    patient = replace(scenario.planning, deadline_s=9.0)
    of_both = [
        simulate(replace(s, planning=patient), "edge-only").outcomes[50].result.latency_s
        for s in (scenario, alike)
    ]
    assert of_both[0] == pytest.approx(of_both[1], abs=0.0005)
    plain: Problem = subject.problems["f32"]
    stem = plain.dag.by_name["stem"]
    coded = framed(plain).codecs[0].tensor(stem)
    assert coded is not None and coded.coded_bytes == 4000 + 170 + 3 * 28
    assert FRAMED_WIRE.answer_bytes == 278


def figures(latency_s: float, quality: float, depth: int = 1) -> Figures:
    times = (latency_s, latency_s, latency_s, 1 / latency_s)
    return Figures(9, *times, 0.0, 0.0, quality, 0.0, {}, {depth: 1.0}, "")


def test_only_rivals_as_accurate_count() -> None:
    of = {
        "exact": figures(0.10, 0.950),
        "hasty": figures(0.01, 0.940),
        "as good": figures(0.08, 0.9495),
        "better": figures(0.09, 0.960),
    }
    cell = Cell("m", "3g", "light", "f32", 1.0, of)
    assert cell.rivals() == ["as good", "better"]
    assert cell.best_rival() == "as good"
    assert cell.ratio() == pytest.approx(1.25)
    assert not cell.to_dict()["against_best_rival"]["exact"]["met"]
    alone = Cell("m", "3g", "heavy", "f32", 1.0, {"exact": of["exact"], "hasty": of["hasty"]})
    assert alone.best_rival() is None
    assert math.isnan(alone.ratio())


def test_without_qualities_the_depth_of_the_exit_counts() -> None:
    unknown = math.nan
    of = {"exact": figures(0.1, unknown, 5), "shallow": figures(0.01, unknown, 2)}
    assert Cell("m", "3g", "light", "f32", 1.0, of).rivals() == []


def test_models_that_are_not_there_are_named() -> None:
    there, missing = available(("roadsigns", "resnet18-224", "nobody"))
    assert there == ["roadsigns", "resnet18-224"]
    assert "no model 'nobody'" in missing["nobody"]
    assert set(MODELS) >= {"vgg16-cifar10", "alexnet-cifar10", "roadsigns"}


def test_every_cell_is_told_of(subject: Subject) -> None:
    assert subject.car_alone_s == pytest.approx(0.1)
    assert subject.describe()["exit_quality"] == list(QUALITY)
    told: list[Cell] = []
    assert run_matrix(subject, links=["wifi"], told=told.append) == told
    assert [(c.load, c.codecs) for c in told] == [
        ("light", "f32"), ("light", "all"), ("heavy", "f32"), ("heavy", "all"),
    ]  # fmt: skip


def test_gains_stand_beside_those_of_a_former_run(subject: Subject) -> None:
    cells = [
        run_cell(subject, link, load, codecs, ("device-only", "dads"))
        for load in LOADS
        for codecs in ("f32", "all")
        for link in ("3g", "wifi")
    ]
    former = {"cells": [cell.to_dict() for cell in cells]}
    same = former_gains(cells, former)
    assert len(same) == 4, "dads+any was not asked where codecs are allowed"
    assert all(g["gain_before"] == pytest.approx(g["gain"], abs=2e-4) for g in same)
    heavy = next(c for c in former["cells"] if (c["load"], c["codecs"]) == ("heavy", "f32"))
    heavy["policies"]["dads"]["period_s"] *= 2
    gains = former_gains(cells, former)
    (changed,) = [g for g in gains if g["gain_before"] > 1.5 * g["gain"]]
    assert (changed["load"], changed["rival"]) == ("heavy", "dads")
    assert former_gains(cells, {"cells": []}) == []
    assert not_met(cells) == []
