"""A policy against its rivals where one run scatters as much as they differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dapdee_ros.experiment.against_rivals import close_rivals, compare, times_as_good
from dapdee_ros.experiment.testbed_answers import on_the_testbed

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("load", ["light", "heavy"])
def test_losses_and_wins_are_measured_again_alike(load: str) -> None:
    rivals = {str(share): 20.0 * share for share in (0.6, 0.7, 1.0, 1.4, 1.6)}
    assert close_rivals(20.0, rivals, load) == ["0.7", "1.0", "1.4"]
    for rival in rivals.values():
        there = close_rivals(20.0, {"other": rival}, load)
        back = close_rivals(rival, {"other": 20.0}, load)
        assert there == back


def test_medians_are_compared_with_the_best_rival_of_the_load() -> None:
    runs = {"dads": [30.0, 26.0, 27.0], "edge-only": [28.0, 29.0, 20.0], "device-only": [8.0]}
    heavy = compare([25.0, 35.0, 29.0], runs, "heavy")
    assert heavy is not None
    assert (heavy.policy, heavy.ours, heavy.rival, heavy.runs) == ("edge-only", 29.0, 28.0, 3)
    assert heavy.ratio == pytest.approx(29 / 28, abs=1e-4)
    light = compare([0.02], {name: [r / 1e3 for r in of] for name, of in runs.items()}, "light")
    assert light is not None
    assert (light.policy, light.ratio) == ("device-only", times_as_good(0.02, 0.008, "light"))
    assert compare([1.0], {}, "heavy") is None


def test_the_results_page_says_what_was_measured_again() -> None:
    name = "testbed-pi4.json"
    result = json.loads((DOCS / "results" / name).read_text(encoding="utf-8"))
    rows = [{"ratio": 0.97, "runs": 3}, {"ratio": 1.4, "runs": 1}]
    answer = on_the_testbed({name: result | {"rivals": rows}})
    assert answer is not None
    assert "0.97 to 1.40 times as fast" in answer.method
    assert "1 of 2 cells" in answer.method
    assert "medians of three" in answer.method
