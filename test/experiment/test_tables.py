"""Results as Markdown: every number where it belongs."""

import pytest
from simulation.small_world import GATE, curves, problem

from dapdee_ros.experiment import tables
from dapdee_ros.experiment.matrix import Cell, run_cell
from dapdee_ros.experiment.regret import run_drive
from dapdee_ros.experiment.subjects import Subject
from dapdee_ros.simulation.link_text import parse_link

RIVALS = ("device-only", "neurosurgeon", "dads")


@pytest.fixture(scope="module")
def subject() -> Subject:
    of = problem((GATE,))
    return Subject("small", {"f32": of, "all": of}, curves(), "made up for a test")


@pytest.fixture(scope="module")
def cells(subject: Subject) -> list[Cell]:
    return [
        run_cell(subject, link, load, codecs, RIVALS)
        for load in ("light", "heavy")
        for codecs in ("f32", "all")
        for link in ("3g", "wifi")
    ]


def test_tables_hold_what_the_cells_hold(cells: list[Cell]) -> None:
    text = tables.matrix_tables(cells)
    assert text.count("**small, ") == 4
    light = cells[1].figures["neurosurgeon"]
    row = next(line for line in text.splitlines() if line.startswith("| neurosurgeon |"))
    assert row.split("|")[3].strip() == f"{1e3 * light.mean_latency_s:.1f} (95.0)"
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {4}


def test_the_summary_counts_cells(cells: list[Cell]) -> None:
    rows = tables.matrix_summary(cells).splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:4]] == ["exact, light", "exact, heavy"]
    assert rows[2].split("|")[2:4] == [" 4 ", " 4 "]
    assert tables.misses(cells) == ""


def test_gains_are_over_plain_tensors(cells: list[Cell]) -> None:
    rows = tables.gain_table(cells).splitlines()[2:]
    assert len(rows) == 4
    plain, ours = cells[0], cells[2]
    gain = plain.metric_s("device-only") / ours.metric_s("exact")
    assert rows[0].split("|")[1:3] == [" small, 3g, light ", f" {gain:.2f} "]


def test_regret_says_whether_it_is_met(subject: Subject) -> None:
    policies = ("oracle", "exact", "device-only")
    drive = run_drive(subject, parse_link("drive"), policies=policies, seconds=30)
    text = tables.regret_tables([drive])
    assert ("**not met**" in text) != drive.met()
    assert text.splitlines()[-1].startswith("| device-only |")


def test_gains_now_stand_beside_those_of_a_former_run(cells: list[Cell]) -> None:
    former = {"cells": [cell.to_dict() for cell in cells]}
    same = tables.former_gains(cells, former)
    assert len(same) == 4, "dads+any was not asked where codecs are allowed"
    assert all(g["gain_before"] == pytest.approx(g["gain"], abs=2e-4) for g in same)
    heavy = next(c for c in former["cells"] if (c["load"], c["codecs"]) == ("heavy", "f32"))
    heavy["policies"]["dads"]["period_s"] *= 2
    gains = tables.former_gains(cells, former)
    (changed,) = [g for g in gains if g["gain_before"] > 1.5 * g["gain"]]
    assert (changed["load"], changed["rival"]) == ("heavy", "dads")
    rows = tables.former_table(gains).splitlines()[2:]
    assert len(rows) == 4
    assert len(tables.former_table(gains, changed_only=True).splitlines()) == 2 + 1
    assert "In 1 of the 4 cells" in tables.changed_words(gains)
    assert "2.00 times" in tables.changed_words(gains)
    assert "In none of the 4 cells" in tables.changed_words(same)
    row = next(row for row in rows if f"small, {changed['link']}, heavy" in row)
    assert row.split("|")[2:4] == [f" {changed['gain_before']:.2f} ", f" {changed['gain']:.2f} "]
    assert tables.former_gains(cells, {"cells": []}) == []
