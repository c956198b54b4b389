"""Training by PPO: it learns, is seeded, and goes on after an interruption as if there was none."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planning.fleet.random_fleets import random_fleet

pytest.importorskip("torch", reason="the extra rl needs PyTorch, which is not installed")
pytest.importorskip(
    "stable_baselines3", reason="the extra rl is not installed: pip install -r requirements/rl.txt"
)
import torch

from dapdee_ros.planning.fleet.in_turn import (
    CAR_FEATURES,
    PLAN_FEATURES,
    observation_size,
)
from dapdee_ros.planning.fleet.ppo import LearnedPolicy
from dapdee_ros.planning.fleet.short_list import LENGTH
from dapdee_ros.reinforcement.curve import draw_curves, read_curve
from dapdee_ros.reinforcement.export import policy_file
from dapdee_ros.reinforcement.network import Actor
from dapdee_ros.reinforcement.ppo_training import PpoOptions, PpoTraining
from dapdee_ros.training.checkpoint import CheckpointError

pytestmark = pytest.mark.training

FLEETS = [random_fleet(seed, 6, per_server=6) for seed in range(6)]
HELD_OUT = [random_fleet(100 + seed, 4, per_server=6) for seed in range(4)]
UPDATE = 8 * 16
SMALL: dict[str, Any] = {
    "fewest_cars": 2, "most_cars": 6, "episodes": 8, "steps": 16, "batch": 64, "width": 16,
    "judge_steps": 2 * UPDATE,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def training(folder: Path, **changes: Any) -> PpoTraining:
    folder.mkdir(exist_ok=True)
    return PpoTraining(FLEETS, HELD_OUT, PpoOptions(**(SMALL | changes)), folder)


def weights_of(one: PpoTraining) -> dict[str, Any]:
    return {k: v.clone() for k, v in one._model.policy.state_dict().items()}


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def stopping_after(updates: int) -> Any:
    asked = iter(range(1000))
    return lambda: next(asked) >= updates


def test_the_same_seed_gives_the_same_policy_and_another_seed_another(tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        one = training(tmp_path / name, seed=seed)
        assert one.run(6 * UPDATE)
        found.append(weights_of(one))
    assert same(found[0], found[1]) and not same(found[0], found[2])
    assert (tmp_path / "a/policy.onnx").read_bytes() == (tmp_path / "b/policy.onnx").read_bytes()


def test_an_interrupted_training_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole = training(tmp_path / "whole")
    whole.run(9 * UPDATE)
    first = training(tmp_path / "parts")
    assert not first.run(9 * UPDATE, stop=stopping_after(4))
    assert first.steps < 9 * UPDATE
    # What happens in between must not matter.
    torch.rand(3)
    np.random.random(3)  # noqa: NPY002
    second = training(tmp_path / "parts")
    assert second.steps == 4 * UPDATE
    assert second.run(9 * UPDATE)
    assert same(weights_of(whole), weights_of(second))
    points = [(p.steps, p.over_price) for p in whole.points]
    assert [(p.steps, p.over_price) for p in second.points] == points
    assert [p.steps for p in read_curve(tmp_path / "parts")] == [s for s, _ in points]
    # A finished one goes on.
    longer = training(tmp_path / "parts")
    assert longer.run(10 * UPDATE) and longer.steps == 10 * UPDATE
    whole = training(tmp_path / "at once")
    whole.run(10 * UPDATE)
    assert same(weights_of(whole), weights_of(longer))


def test_it_learns(tmp_path: Path) -> None:
    one = training(tmp_path, episodes=32, judge_steps=8_192, entropy=0.001)
    one.run(24_576)
    first, best = one.points[0], one.best
    assert best is not None and first.steps == 0 and math.isnan(first.reward)
    assert best.over_price < 0.5 * first.over_price and best.over_price < 0.1
    policy = LearnedPolicy.load(tmp_path / "policy.onnx")
    assert policy.about["trained"]["steps"] == best.steps
    draw_curves({"one": read_curve(tmp_path)}, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    curve = json.loads((tmp_path / "curve.json").read_text())
    assert curve["points"][0]["reward"] is None and curve["options"]["episodes"] == 32


def test_the_file_computes_what_was_trained() -> None:
    torch.manual_seed(0)
    actor = Actor(16)
    torch.nn.init.normal_(actor.score.weight)
    seen = np.random.default_rng(1).normal(size=(4, observation_size(LENGTH))).astype(np.float32)
    flags = CAR_FEATURES + PLAN_FEATURES * np.arange(1, LENGTH + 1) - 1
    seen[:, flags] = np.arange(LENGTH) < np.array([1, 3, 9, LENGTH])[:, None]
    with torch.no_grad():
        expected = actor(torch.from_numpy(seen)).numpy()
    weights = {name: value.numpy() for name, value in actor.state_dict().items()}
    policy = LearnedPolicy.of(policy_file(weights, {}))
    assert policy._scores(seen) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    one = training(tmp_path)
    one.run(UPDATE)
    with pytest.raises(CheckpointError, match="other seed, width: choose another folder"):
        training(tmp_path, seed=9, width=8)
    with pytest.raises(CheckpointError, match="other fleets"):
        PpoTraining(FLEETS[1:], HELD_OUT, PpoOptions(**SMALL), tmp_path)
    content = one.checkpoint.read_bytes()
    one.checkpoint.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="remove it to start over"):
        training(tmp_path)
