"""Profiles: every node has a time, and together they take what a run takes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from graph.graph_networks import build
from torch import Tensor, nn

from dapdee_ros.graph.runner import GraphRunner
from dapdee_ros.graph.trace import trace
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.runtime.profiling import measure_profile, node_times


class Slow(nn.Module):
    """Sleeps for a known time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return x + 1


def test_known_times_are_found() -> None:
    model = nn.Sequential(Slow(0.004), Slow(0.012))
    image = torch.zeros(1, 4)
    runner = GraphRunner(trace(model, image, leaf_modules=[Slow]))
    done: list[tuple[int, int]] = []
    profile = measure_profile(
        runner,
        image,
        model_id="m",
        device="a bed",
        repeats=4,
        budget_s=0.8,
        progress=lambda *at: done.append(at),
    )
    assert set(profile.node_seconds) == {"input", "0", "1"}
    assert profile.node_seconds["input"] == 0
    # Sleeps are never shorter than asked for; on a busy machine they may be longer.
    assert profile.node_seconds["0"] > 0.9 * 0.004
    assert profile.node_seconds["1"] > 0.9 * 0.012
    assert 1.5 < profile.node_seconds["1"] / profile.node_seconds["0"] < 6
    assert profile.device == "a bed"
    assert done[-1][0] == done[-1][1]
    assert [at for at, _ in done] == sorted(at for at, _ in done)


def test_stalls_that_medians_miss_are_in_the_sum() -> None:
    class Stalling(nn.Module):
        """Every fifth call waits, as it would under a CPU quota."""

        def __init__(self) -> None:
            super().__init__()
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            time.sleep(0.02 if self.calls % 5 == 0 else 0.001)
            return x + 1

    image = torch.zeros(1, 4)
    model = nn.Sequential(Stalling(), nn.Linear(4, 4))
    runner = GraphRunner(trace(model, image, leaf_modules=[Stalling]))
    profile = measure_profile(runner, image, model_id="m", budget_s=1.0)
    # The median of the calls is 1 ms; the mean is at least this.
    assert profile.total_s > 0.9 * (4 * 0.001 + 0.02) / 5


def test_a_quota_takes_from_short_and_long_nodes_alike() -> None:
    """A tenth of a core, 1 ms of every 10: whichever node runs when it is used up waits 9 ms."""
    rng = random.Random(0)
    work_s = {"short": 0.4e-3, "long": 1.5e-3}
    elapsed: dict[str, list[float]] = {name: [] for name in work_s}
    for _ in range(2000):
        used_s = rng.uniform(0, 1e-3)
        for name, seconds in work_s.items():
            stalls = int((used_s + seconds) / 1e-3)
            used_s = (used_s + seconds) % 1e-3
            elapsed[name].append(seconds + stalls * 9e-3)
    busy = {name: [seconds] * 2000 for name, seconds in work_s.items()}
    found = node_times(elapsed, busy, 19e-3)
    assert sum(found.values()) == pytest.approx(19e-3)
    assert found["short"] == pytest.approx(4e-3, rel=0.1)


def test_a_quota_in_step_with_the_runs_hits_always_the_same_node() -> None:
    elapsed = {"first": [1e-3] * 20, "second": [1e-3 + 18e-3] * 15 + [1e-3] * 5}
    busy = {"first": [1e-3] * 20, "second": [1e-3] * 20}
    found = node_times(elapsed, busy, 20e-3)
    assert found == {"first": pytest.approx(10e-3), "second": pytest.approx(10e-3)}


def test_without_stalls_the_median_keeps_a_disturbance_out() -> None:
    elapsed = {"short": [1.0, 1.0, 50.0], "long": [3.0, 3.0, 3.0]}
    # A node whose processor time is less, such as one that waits for a device, still takes 3 s.
    busy = {"short": [1.0, 1.0, 1.0], "long": [2.0, 2.0, 2.0]}
    calm = node_times(elapsed, busy, 4.0)
    assert calm == {"short": pytest.approx(1.0), "long": pytest.approx(3.0)}


def test_a_real_network_in_the_promised_time() -> None:
    torch.set_num_threads(1)
    model, image = build("mobilenet_v2")
    runner = GraphRunner(trace(model, image))
    began = time.perf_counter()
    profile = measure_profile(runner, image, model_id="m", budget_s=1.0)
    took = time.perf_counter() - began
    assert took < 10  # on a busy machine; 1.1 s on an idle one
    profile.check_fits([node.name for node in runner.dag.nodes], "m")
    assert all(s > 0 for name, s in profile.node_seconds.items() if name != "x")
    assert DeviceProfile.from_dict(profile.to_dict()) == profile


def test_threads_are_put_back() -> None:
    torch.set_num_threads(1)
    image = torch.zeros(1, 4)
    runner = GraphRunner(trace(nn.Linear(4, 4), image))
    seen: list[int] = []
    run_observed = runner.run_observed

    def watched(given: Any, targets: Any, observe: Callable[..., Any]) -> Any:
        seen.append(torch.get_num_threads())
        return run_observed(given, targets, observe)

    runner.run_observed = watched  # type: ignore[method-assign]
    profile = measure_profile(runner, image, model_id="m", threads=2, budget_s=0.1)
    assert profile.threads == 2
    assert set(seen) == {2}
    assert torch.get_num_threads() == 1


def test_wrong_requests() -> None:
    runner = GraphRunner(trace(nn.Linear(4, 4), torch.zeros(1, 4)))
    with pytest.raises(ValueError, match="3 repeats"):
        measure_profile(runner, torch.zeros(1, 4), model_id="m", repeats=2)
    with pytest.raises(ValueError, match="should be float32"):
        measure_profile(runner, torch.zeros(1, 5), model_id="m")
