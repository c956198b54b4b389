"""The decision process of a learned policy: its costs, rewards and observations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from planning.fleet.random_fleets import random_fleet

from dapdee_ros.planning.candidates import Floats, Ints
from dapdee_ros.planning.fleet.baselines import each_for_itself
from dapdee_ros.planning.fleet.fleet import Fleet, FleetCar, joint_choice
from dapdee_ros.planning.fleet.in_turn import (
    CAR_FEATURES,
    PLAN_FEATURES,
    SWEEPS,
    WEIGHTS,
    InTurn,
    observation_size,
)
from dapdee_ros.planning.fleet.rows import NOBODY, Rows
from dapdee_ros.planning.fleet.short_list import LENGTH, short_lists


def cost_by_hand(fleet: Fleet, rows: Ints, weight: Floats) -> float:
    """The sum of costs, share by share."""
    r = fleet.rows
    edge, air = np.zeros(len(rows)), np.zeros(len(rows))
    for i, row in enumerate(rows):
        beside = [k for k, o in enumerate(rows)
                  if r.edge_s[o] > 0 and r.server[o] == r.server[row]]  # fmt: skip
        if i in beside:
            edge[i] = weight[i] / sum(weight[k] for k in beside)
        sending = [k for k, o in enumerate(rows) if r.air_s[o] > 0 and r.cell[o] == r.cell[row]]
        if i in sending:
            air[i] = 1 / len(sending)
    return joint_choice(fleet, rows, edge, air).total_cost


def rows_now(turns: InTurn, fleet: Fleet, episode: int = 0) -> tuple[Ints, Floats]:
    place, weight = turns.choice(episode)
    return short_lists(fleet).row[np.arange(len(place)), place], weight


def test_cost_and_rewards_are_those_of_the_joint_choice() -> None:
    rng = np.random.default_rng(0)
    for seed in range(10):
        fleet = random_fleet(seed, 2 + seed % 5)
        turns = InTurn([short_lists(fleet)])
        turns.begin(0, 0, rng.permutation(len(fleet.cars)))
        began = float(turns.cost[0])
        assert began == pytest.approx(each_for_itself(fleet).total_cost)
        rewards, costs, over = [], [began], False
        while not over:
            got, ended = turns.step(rng.integers(LENGTH * len(WEIGHTS), size=1))
            rewards.append(float(got[0]))
            costs.append(float(turns.cost[0]))
            assert costs[-1] == pytest.approx(cost_by_hand(fleet, *rows_now(turns, fleet)))
            over = bool(ended[0])
        assert len(rewards) == SWEEPS * len(fleet.cars)
        fell = -np.diff(costs)
        moved = np.abs(fell) > 1e-9
        scale = fell[moved] / np.array(rewards)[moved]
        assert scale == pytest.approx(scale[0])
        assert sum(rewards) * scale[0] == pytest.approx(began - costs[-1])


def by_hand() -> Fleet:
    """Three cars; what they gain in the mean, and wait alone, is 1 / 3."""
    alone = (1.0, 1.0, 1.0, 0.0, 0.0, NOBODY, NOBODY)
    send = (0.5, 1.0, 0.1, 0.2, 0.1, 0, 0)
    none = (0.4, 1.0, 0.4, 0.0, 0.0, NOBODY, NOBODY)
    cars = (Rows.of(alone, send), Rows.of(alone, send), Rows.of(none, send))
    return Fleet(tuple(FleetCar(f"c{i}", rows) for i, rows in enumerate(cars)))


def test_observations_by_hand() -> None:
    turns = InTurn([short_lists(by_hand())])
    turns.begin(0, 0, np.array([2, 0, 1]))
    # Cars 0 and 1 begin with sending, 0.8 instead of 1; car 2, which would pay 0.8, stays at 0.4.
    # To gain: 0.2 each and to wait 0.3 each; of car 2 nothing.
    scale = (0.5 + 0.5 + 0.0) / 3
    seen = turns.observe()[0]
    assert seen.shape == (observation_size(LENGTH),)
    car, plans = seen[:CAR_FEATURES], seen[CAR_FEATURES:].reshape(LENGTH, PLAN_FEATURES)
    assert car == pytest.approx([np.log(3) / 4, 0.0, 0.0, 2 / 3])
    home, send = plans[:2]
    assert home == pytest.approx([0.0] * 9 + [1.0, 1.0])
    costs = [0.1, 0.2, 0.1, 0.2 * 2, 0.1 * 2, 0.4, 0.2]
    assert send == pytest.approx([c / scale for c in costs] + [np.log(3)] * 2 + [0.0, 1.0])
    assert not plans[2:].any()
    # It sends with a weight of 4; then car 0 sees that beside car 1's weight of 1.
    turns.step(np.array([1 * len(WEIGHTS) + 4]))
    seen = turns.observe()[0]
    home, send = seen[CAR_FEATURES:].reshape(LENGTH, PLAN_FEATURES)[:2]
    assert seen[:CAR_FEATURES] == pytest.approx([np.log(3) / 4, 1 / 3, 0.0, 1.0])
    costs = [-0.3, 0.2, 0.1, 0.2 * 5, 0.1 * 2, 0.2 + 0.2 / 4, 0.2]
    assert send == pytest.approx([c / scale for c in costs] + [np.log(6), np.log(3), 1.0, 1.0])
    assert home[0] == pytest.approx(0.2 / scale) and home[9] == 0.0
    for action in (0, 0, 0):
        turns.step(np.array([action]))
    assert turns.observe()[0][2] == 1.0, "the second sweep is the last"


def test_episodes_at_once_are_as_each_alone() -> None:
    fleets = [random_fleet(seed, cars, servers) for seed, cars, servers in
              ((0, 2, 1), (1, 7, 3), (2, 4, 2))]  # fmt: skip
    lists = [short_lists(fleet) for fleet in fleets]
    together = InTurn(lists, 3)
    alone = [InTurn([one]) for one in lists]
    rng = np.random.default_rng(1)
    for episode, fleet in enumerate(fleets):
        order = rng.permutation(len(fleet.cars))[: 2 + episode]
        together.begin(episode, episode, order)
        alone[episode].begin(0, 0, order)
    for _ in range(4):
        seen = together.observe()
        assert np.array_equal(seen, np.concatenate([one.observe() for one in alone]))
        actions = rng.integers(LENGTH * len(WEIGHTS), size=3)
        rewards, ended = together.step(actions)
        steps = [one.step(actions[[k]]) for k, one in enumerate(alone)]
        assert rewards.tolist() == [float(r[0]) for r, _ in steps]
        assert ended.tolist() == [bool(e[0]) for _, e in steps]


def test_a_plan_behind_the_last_begins_again_with_the_first() -> None:
    turns = InTurn([short_lists(by_hand())])
    turns.begin(0, 0, np.arange(3))
    turns.step(np.array([5 * len(WEIGHTS) + 1]))
    place, weight = turns.choice()
    assert (place[0], weight[0]) == (1, 0.5)


def test_going_on_from_a_state() -> None:
    lists = [short_lists(random_fleet(seed, 6)) for seed in range(2)]
    rng = np.random.default_rng(2)

    def begun() -> InTurn:
        turns = InTurn(lists, 2)
        for episode in range(2):
            turns.begin(episode, episode, np.arange(5))
        return turns

    def drive(turns: InTurn, actions: Sequence[Ints]) -> list[float]:
        return [float(turns.step(action)[0].sum()) for action in actions]

    actions = [rng.integers(LENGTH * len(WEIGHTS), size=2) for _ in range(8)]
    whole = begun()
    expected = drive(whole, actions)
    first, second = begun(), InTurn(lists, 2)
    drive(first, actions[:3])
    second.restore(first.state())
    assert drive(second, actions[3:]) == pytest.approx(expected[3:])
    assert np.array_equal(second.observe(), whole.observe())
    with pytest.raises(ValueError, match="expected"):
        InTurn(lists, 3).restore(first.state())
