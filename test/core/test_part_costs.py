"""Which sizes of batches are used: those that pay, found out at next to no cost."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from dapdee_ros.core.part_costs import PartCosts

ONE_S = 0.005
MOST = 8


def saves(part: float) -> Callable[[int], float]:
    """Seconds of a batch whose larger sizes save so much of it; a part of 0: nothing."""
    return lambda size: ONE_S * size * (1.0 - part * (1.0 - 1.0 / size))


def loaded(load: float, size: int) -> float:
    """Seconds of a batch that saves nothing, on a loaded machine."""
    return load * ONE_S * size


def drive(
    takes_s: Callable[[int], float],
    runs: int,
    *,
    noise: float = 0.0,
    available: Callable[[], int] = lambda: MOST,
    costs: PartCosts | None = None,
) -> tuple[PartCosts, Counter[int], float]:
    """Costs after so many runs, how often each size was used, and seconds per frame."""
    draw = random.Random(3)
    if costs is None:
        costs = PartCosts(MOST)
        costs.learn("part", 1, ONE_S)
        assert costs.ask_for_batches("part")
        costs.batches_ready("part", True)
    used: Counter[int] = Counter()
    spent_s = 0.0
    for _ in range(runs):
        size = costs.batch_size("part", available())
        took_s = takes_s(size) * draw.lognormvariate(0.0, noise)
        costs.learn("part", size, took_s)
        used[size] += 1
        spent_s += took_s
    return costs, used, spent_s / sum(size * n for size, n in used.items())


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_a_size_that_pays_is_used(noise: float) -> None:
    _, used, per_frame_s = drive(saves(0.5), 1000, noise=noise)
    assert used[MOST] >= 0.85 * used.total(), used
    assert per_frame_s <= 0.65 * ONE_S


@pytest.mark.parametrize("saved", [0.0, -0.2, -1.0])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_what_does_not_pay_costs_next_to_nothing(saved: float, noise: float) -> None:
    costs, used, per_frame_s = drive(saves(saved), 1000, noise=noise)
    alone_s = drive(saves(0.0), 1000, noise=noise, available=lambda: 1)[2]
    assert per_frame_s <= 1.02 * alone_s, used
    if saved < -0.5:
        assert used[1] >= 0.95 * used.total(), used
        assert used[4] == used[8] == 0
    assert costs.run_s("part") == pytest.approx(ONE_S, rel=0.1)


def test_the_best_size_may_be_neither_the_smallest_nor_the_largest() -> None:
    takes_s = {1: 1.0, 2: 1.6, 4: 2.8, 8: 6.4}.__getitem__
    _, used, _ = drive(takes_s, 1000)
    assert used.most_common(1)[0][0] == 4
    # Even if most of the time there are too few.
    draw = random.Random(1)
    _, used, _ = drive(takes_s, 2000, available=lambda: draw.choice((1, 2, 3, 3, 3, 5)))
    assert used[2] >= 2 * used[4] > 0 and used[8] == 0


def test_it_notices_that_a_batch_has_begun_to_pay_and_that_it_has_ceased_to() -> None:
    costs, used, _ = drive(saves(0.0), 500)
    assert used[1] >= 0.9 * used.total()
    costs, _, _ = drive(saves(0.5), 3000, costs=costs)
    _, used, _ = drive(saves(0.5), 100, costs=costs)
    assert used[MOST] >= 90
    costs, _, _ = drive(saves(-0.5), 1000, costs=costs)
    _, used, _ = drive(saves(-0.5), 100, costs=costs)
    assert used[1] >= 95


def test_a_batch_is_expected_to_take_what_it_took_and_before_that_what_its_frames_take() -> None:
    costs = PartCosts(MOST)
    assert costs.run_s("part") == costs.share_s("part") == 0.0
    costs.learn("part", 1, 0.1)
    assert costs.run_s("part", 4) == pytest.approx(0.4)
    costs.ask_for_batches("part")
    costs.batches_ready("part", True)
    costs.learn("part", 1, 0.1)
    costs.learn("part", 2, 0.15)
    assert costs.run_s("part", 1) == pytest.approx(0.1)
    assert costs.run_s("part", 4) == pytest.approx(0.3)
    # A frame's share of the edge is what it cost, in batches or not.
    assert 0.075 < costs.share_s("part") < 0.1


def test_without_batches_there_are_none() -> None:
    costs = PartCosts()
    costs.learn("part", 1, 0.1)
    assert not costs.ask_for_batches("part")
    assert not costs.may_batch("part") and costs.batch_size("part", 8) == 1
    able = PartCosts(MOST)
    able.learn("part", 1, 0.1)
    assert able.may_batch("part") and able.ask_for_batches("part")
    assert not able.ask_for_batches("part"), "once is enough"
    assert able.batch_size("part", 8) == 1, "not before it is ready"
    able.batches_ready("part", False)
    assert not able.may_batch("part") and not able.ask_for_batches("part")


def test_many_parts_are_forgotten_together_with_their_batches() -> None:
    costs = PartCosts(MOST)
    for number in range(5000):
        costs.learn(number, 1, 0.1)
        costs.ask_for_batches(number)
        costs.batches_ready(number, True)
    assert len(costs._share_s) == len(costs._batches) <= 256
    costs.batches_ready(1, True)
    assert len(costs._batches) <= 256
    costs.learn(1, 1, 0.1)
    assert costs.ask_for_batches(1)


def test_a_machine_that_becomes_slower_and_faster_is_not_taken_for_a_batch_that_pays() -> None:
    costs, _, _ = drive(saves(0.0), 100)
    for load in (1.0, 3.0, 0.5, 2.0):
        _, used, _ = drive(partial(loaded, load), 400, costs=costs)
        assert used[1] >= 0.85 * used.total(), (load, used)


def test_a_size_for_which_there_are_never_enough_frames_is_no_reason_to_wait() -> None:
    _, used, _ = drive(saves(0.5), 1000, available=lambda: 3)
    assert used[2] >= 0.9 * used.total(), used


def test_what_the_edge_does_between_two_runs_is_no_part_of_either() -> None:
    costs = PartCosts(MOST)
    costs.learn("part", 1, ONE_S)
    costs.ask_for_batches("part")
    costs.batches_ready("part", True)
    answered, used = 0, Counter[int]()
    for _ in range(500):
        # The answers of the run before are sent when this one has been begun.
        size = costs.batch_size("part", MOST)
        took_s = saves(0.0)(size)
        costs.learn("part", size, took_s + 0.4 * ONE_S * answered, took_s)
        answered = size
        used[size] += 1
    assert used[1] >= 0.85 * used.total(), used
    # But it is time until the next one is done.
    assert costs.run_s("part") >= 1.2 * ONE_S
