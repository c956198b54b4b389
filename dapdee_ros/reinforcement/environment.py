"""The decision process of a fleet (``planning/fleet/in_turn.py``) as a gymnasium environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from dapdee_ros.planning.candidates import Ints
from dapdee_ros.planning.fleet.fleet import Fleet
from dapdee_ros.planning.fleet.in_turn import (
    LIMIT,
    WEIGHTS,
    InTurn,
    Observations,
    observation_size,
)
from dapdee_ros.planning.fleet.short_list import LENGTH, short_lists


def observation_space(length: int = LENGTH) -> spaces.Box:
    """What a car sees."""
    return spaces.Box(-LIMIT, LIMIT, (observation_size(length),), np.float32)


def action_space(length: int = LENGTH) -> spaces.Discrete:
    """What a car may do: a place in its short list, and a weight."""
    return spaces.Discrete(length * len(WEIGHTS))


def draw_episode(rng: np.random.Generator, have: Ints, fewest: int, most: int) -> tuple[int, Ints]:
    """A fleet, and some of its cars in the order of their turns.

    Args:
        rng: draws.
        have: how many cars each fleet has, ``(fleets,)``.
        fewest: cars of an episode at least, where a fleet has so many.
        most: at most, likewise.
    """
    fleet = int(rng.integers(len(have)))
    there = int(have[fleet])
    count = int(rng.integers(min(fewest, there), min(most, there) + 1))
    return fleet, rng.permutation(there)[:count]


class FleetEnv(gymnasium.Env):  # type: ignore[type-arg,misc,unused-ignore]
    """Cars of a drawn fleet choose in turn; an episode ends when each has had all its turns.

    Attributes:
        observation_space: numbers as ``in_turn`` lists them.
        action_space: place of the plan in the car's short list times the number of weights, plus
            the place of the weight.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012  gymnasium's own

    def __init__(self, fleets: Sequence[Fleet], fewest_cars: int = 1, most_cars: int = 50) -> None:
        """Prepare.

        Args:
            fleets: what episodes are drawn from.
            fewest_cars: of an episode, at least.
            most_cars: at most.
        """
        self.observation_space = observation_space()
        self.action_space = action_space()
        self._turns = InTurn([short_lists(fleet.reduced[0]) for fleet in fleets])
        self._cars = fewest_cars, most_cars

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Draw a fleet; ``info`` holds what its cars cost, in the objective's seconds."""
        super().reset(seed=seed)
        fleet, order = draw_episode(self.np_random, self._turns.cars, *self._cars)
        self._turns.begin(0, fleet, order)
        return self._turns.observe()[0], self._info()

    def step(self, action: Any) -> tuple[Observations, float, bool, bool, dict[str, Any]]:
        """Let the car choose whose turn it is."""
        reward, ended = self._turns.step(np.array([int(action)]))
        return self._turns.observe()[0], float(reward[0]), bool(ended[0]), False, self._info()

    def _info(self) -> dict[str, Any]:
        return {"cost": float(self._turns.cost[0])}
