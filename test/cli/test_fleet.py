"""`dapdee fleet simulate`: its text, JSON and page; `train-ppo`; and what both refuse."""

import importlib.util
import json
from pathlib import Path

import pytest

from dapdee_ros.cli.main import main

LEARNS = all(importlib.util.find_spec(name) for name in ("torch", "stable_baselines3"))

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
        (["--policy", "ppo:missing.onnx"], "missing.onnx cannot be read"),
    ],
)
def test_mistakes_are_told(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fleet", "simulate", *options]) == 2
    assert words in capsys.readouterr().err


def train(folder: Path, *options: str) -> int:
    few = ["--fleets", "2", "--fewest-cars", "2", "--most-cars", "3", "--out", str(folder)]
    return main(["fleet", "train-ppo", *few, *options])


@pytest.mark.training
@pytest.mark.skipif(not LEARNS, reason="the extra rl is not installed: requirements/rl.txt")
def test_a_policy_is_trained_resumed_and_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = tmp_path / "fleet.yaml"
    scenario.write_text("cars: [{count: 3, model: roadsigns}]\n")
    folder = tmp_path / "policy"
    assert train(folder, "--steps", "4096", str(scenario)) == 0
    assert {p.name for p in folder.iterdir()} == {
        "checkpoint.safetensors", "curve.json", "curve.png", "policy.onnx",
    }  # fmt: skip
    assert train(folder, "--steps", "8192", str(scenario)) == 0
    shown = capsys.readouterr()
    assert "resuming at step 4096" in shown.err
    assert json.loads(shown.out.splitlines()[-1])["steps"] == 8192
    assert train(folder, "--steps", "8192", "--seed", "1", str(scenario)) == 2
    assert "other fleets, seed: choose another folder, or --restart" in capsys.readouterr().err
    policy = f"ppo:{folder / 'policy.onnx'}"
    assert main(["fleet", "simulate", *SMALL, "--policy", policy, "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["balanced"] and run["totals"]["answered"] > 30


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--steps", "0"], "--steps is 0; expected 1 or more"),
        (["--fleets", "-1"], "--fleets is -1"),
        (["--most-cars", "1"], "--most-cars 1; expected"),
        (["--seed", "-3"], "--seed is -3"),
    ],
)
def test_training_options_that_make_no_sense_are_refused(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, *options) == 2
    assert words in capsys.readouterr().err


@pytest.mark.skipif(LEARNS, reason="the extra rl is installed")
def test_training_without_what_it_needs_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path) == 2
    assert "training a policy for fleets needs" in (shown := capsys.readouterr().err)
    assert "pip install 'dapdee_ros[" in shown
