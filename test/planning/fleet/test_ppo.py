"""Learned policies: their files, and that what they decide becomes a joint choice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from planning.fleet.random_fleets import random_fleet

from dapdee_ros.planning.candidates import Floats
from dapdee_ros.planning.errors import PolicyError
from dapdee_ros.planning.fleet.baselines import each_for_itself
from dapdee_ros.planning.fleet.exact import lowest_sum
from dapdee_ros.planning.fleet.in_turn import (
    CAR_FEATURES,
    PLAN_FEATURES,
    WEIGHTS,
    Observations,
    observation_size,
)
from dapdee_ros.planning.fleet.ppo import PROPERTY, SHIPPED, LearnedPolicy, by_ppo
from dapdee_ros.planning.fleet.short_list import LENGTH
from dapdee_ros.reinforcement.export import policy_file

WIDTH = 8
SHAPES = {
    "plans.plan.weight": (WIDTH, PLAN_FEATURES),
    "plans.plan.bias": (WIDTH,),
    "plans.car.weight": (WIDTH, CAR_FEATURES),
    "each.weight": (WIDTH, WIDTH),
    "each.bias": (WIDTH,),
    "mean.weight": (WIDTH, WIDTH),
    "score.weight": (len(WEIGHTS), WIDTH),
    "score.bias": (len(WEIGHTS),),
}


def weights(seed: int = 0) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


def parts(seen: Observations) -> tuple[Floats, Floats]:
    plans = seen[:, CAR_FEATURES:].reshape(-1, LENGTH, PLAN_FEATURES)
    return seen[:, :CAR_FEATURES].astype(float), plans.astype(float)


def scores_by_hand(w: dict[str, NDArray[Any]], seen: Observations) -> Floats:
    car, plans = parts(seen)
    found = np.full((len(seen), LENGTH, len(WEIGHTS)), -1e9)
    for n in range(len(seen)):
        there = [k for k in range(LENGTH) if plans[n, k, -1] > 0]
        first = {
            k: np.maximum(w["plans.plan.weight"] @ plans[n, k] + w["plans.plan.bias"]
                          + w["plans.car.weight"] @ car[n], 0)
            for k in range(LENGTH)
        }  # fmt: skip
        mean = np.mean([first[k] for k in there], axis=0)
        for k in there:
            second = w["each.weight"] @ first[k] + w["each.bias"] + w["mean.weight"] @ mean
            found[n, k] = w["score.weight"] @ np.maximum(second, 0) + w["score.bias"]
    return found.reshape(len(seen), -1)


def test_the_file_computes_what_the_layers_say() -> None:
    rng = np.random.default_rng(1)
    seen = rng.normal(size=(5, observation_size(LENGTH))).astype(np.float32)
    flags = CAR_FEATURES + PLAN_FEATURES * np.arange(1, LENGTH + 1) - 1
    seen[:, flags] = np.arange(LENGTH) < rng.integers(1, LENGTH + 1, size=5)[:, None]
    given = weights()
    policy = LearnedPolicy.of(policy_file(given, {"seed": 3}))
    assert policy.about["trained"] == {"seed": 3}
    assert policy._scores(seen) == pytest.approx(scores_by_hand(given, seen), rel=1e-4, abs=1e-3)


def greedy(seen: Observations) -> Floats:
    """What everybody's cost falls by most at once: the sum of the observed costs."""
    _, plans = parts(seen)
    base, edge, air, edge_beside, air_beside, lost, waits = (plans[..., k] for k in range(7))
    w = np.array(WEIGHTS)
    cost = (base + edge + air + air_beside + waits)[..., None]
    cost = cost + edge_beside[..., None] / w + lost[..., None] * w
    return np.where(plans[..., -1:] > 0, -cost, -1e9).reshape(len(seen), -1)


def test_a_greedy_policy_is_near_the_exact_choice_and_never_below_it() -> None:
    policy = LearnedPolicy(greedy)
    over = []
    for seed in range(30):
        fleet = random_fleet(seed, 2 + seed % 6)
        found, least = policy.choose(fleet), lowest_sum(fleet).total_cost
        assert found.total_cost >= least * (1 - 1e-9)
        assert found.total_cost <= each_for_itself(fleet).total_cost * (1 + 1e-9)
        over.append(found.total_cost / least)
    assert np.median(over) < 1.03 and max(over) < 1.2


def test_shares_are_given_away_once_and_late_cars_are_named() -> None:
    fleet = random_fleet(4, 8, deadline_s=0.5)
    found = LearnedPolicy(greedy).choose(fleet)
    r = fleet.rows
    for server in range(2):
        there = (r.server[found.rows] == server) & (r.edge_s[found.rows] > 0)
        assert not there.any() or found.edge_share[there].sum() == pytest.approx(1.0)
    deadlines = np.array([car.deadline_s for car in fleet.cars])
    late = {fleet.cars[i].name for i in np.flatnonzero(found.latency_s > deadlines)}
    assert late <= {*found.late}
    assert (r.server[found.rows] >= 0).any()


def changed(content: bytes, **about: str) -> bytes:
    model = onnx.load_model_from_string(content)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, about)
    return bytes(model.SerializeToString())


def test_what_is_no_policy_is_refused(tmp_path: Path) -> None:
    good = policy_file(weights(), {})
    nan = weights() | {"score.bias": np.full(len(WEIGHTS), np.nan)}
    other = onnx.load_model_from_string(good)
    other.graph.node.pop()
    for content, words in (
        (b"", "no policy"),
        (good[: len(good) // 2], "no policy"),
        (b"\x00" * 100, "no policy"),
        (changed(good), "no policy"),
        (changed(good, **{PROPERTY: "[1]"}), "something else"),
        (changed(good, **{PROPERTY: '{"format": 1, "length": 99}'}), "something else"),
        (policy_file(nan, {}), "finite: False"),
        (bytes(other.SerializeToString()), "cannot be computed"),
        (good + b"\x00" * 2_000_000, "bytes"),
    ):
        path = tmp_path / "policy.onnx"
        path.write_bytes(content)
        with pytest.raises(PolicyError, match=words) as raised:
            LearnedPolicy.load(path)
        assert str(path) in str(raised.value)
    with pytest.raises(PolicyError, match=r"missing\.onnx cannot be read.*train-ppo"):
        LearnedPolicy.load(tmp_path / "missing.onnx")


@pytest.mark.skipif(not SHIPPED.is_file(), reason="no policy is shipped with these sources")
def test_the_shipped_policy_is_small_and_chooses_without_torch() -> None:
    assert SHIPPED.stat().st_size < 200_000
    for seed in range(5):
        fleet = random_fleet(seed, 6)
        found = by_ppo(fleet)
        assert lowest_sum(fleet).total_cost * (1 - 1e-9) <= found.total_cost
    code = """
import sys
from dapdee_ros.planning.fleet.fleet import Fleet, FleetCar
from dapdee_ros.planning.fleet.ppo import by_ppo
from dapdee_ros.planning.fleet.rows import Rows
rows = Rows.of((1.0, 1.0, 1.0, 0.0, 0.0, -1, -1), (0.1, 1.0, 0.1, 0.2, 0.1, 0, 0))
print(len(by_ppo(Fleet((FleetCar("a", rows), FleetCar("b", rows)))).rows))
print(*({"torch", "gymnasium", "stable_baselines3", "networkx"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["2", ""]
