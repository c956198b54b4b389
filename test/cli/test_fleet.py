"""`dapdee fleet simulate`: its text, JSON and page, and what it refuses."""

import json
from pathlib import Path

import pytest

from dapdee_ros.cli.main import main

SMALL = ("--cars", "3", "--servers", "2", "--seconds", "4", "--model", "roadsigns")


def test_policies_are_compared_as_text_and_on_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "fleet.html"
    scenario = tmp_path / "fleet.yaml"
    scenario.write_text("cars: [{battery_j: 1, energy_weight: 0.1, base_w: 0.5}]\n")
    policies = ("--policy", "price", "--policy", "alone:dads")
    status = main(["fleet", "simulate", *SMALL, *policies, "--report", str(page), str(scenario)])
    shown = capsys.readouterr().out
    assert status == 0
    assert "3 cars (roadsigns), 2 edge servers" in shown
    assert "alone:dads" in shown and "batteries empty" in shown
    html = page.read_text()
    assert html.count("<svg") == 4 + 2 * 2 and "NaN" not in html
    assert "Cars under price" in html and "Median latency" in html


def test_json_holds_every_car_and_round(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fleet", "simulate", *SMALL, "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["balanced"] and len(run["cars"]) == 3 and len(run["rounds"][0]["prices"]) == 4
    assert run["totals"]["accepted"] == sum(car["accepted"] for car in run["cars"]) > 30


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--policy", "cheapest"], "policy 'cheapest' is unknown; there are price"),
        (["--cars", "0"], "count is 0; expected"),
        (["--model", "none-such"], "none-such"),
        (["missing.yaml"], "missing.yaml"),
    ],
)
def test_mistakes_are_told(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fleet", "simulate", *options]) == 2
    assert words in capsys.readouterr().err
