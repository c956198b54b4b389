"""Many episodes of a fleet's decision process at once, as stable-baselines3 takes them.

A step of 64 episodes takes hardly longer than one of a single one, since NumPy computes all of them
together; gymnasium's environments would be asked one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from dapdee_ros.planning.candidates import Floats
from dapdee_ros.planning.fleet.in_turn import SWEEPS, InTurn, Observations
from dapdee_ros.planning.fleet.short_list import ShortLists
from dapdee_ros.reinforcement.environment import action_space, draw_episode, observation_space


class FleetVecEnv(VecEnv):  # type: ignore[misc,unused-ignore]
    """Episodes that begin anew when they end.

    Attributes:
        ended: how many have ended.
        rewards: sum of the rewards of those that have ended, divided by their cars.
    """

    render_mode = None

    def __init__(
        self, fleets: Sequence[ShortLists], episodes: int, cars: tuple[int, int], seed: int
    ) -> None:
        """Prepare.

        Args:
            fleets: what episodes are drawn from.
            episodes: how many go on at once.
            cars: fewest and most of an episode.
            seed: of everything that is drawn.
        """
        self._turns = InTurn(fleets, episodes)
        self._cars = cars
        self._rng = np.random.default_rng([seed, 19])
        self._sums: Floats = np.zeros(episodes)
        self._actions = np.zeros(episodes, np.intp)
        self.ended, self.rewards = 0, 0.0
        super().__init__(episodes, observation_space(), action_space())

    def reset(self) -> Observations:
        """Begin all episodes."""
        for episode in range(self.num_envs):
            self._begin(episode)
        return self._turns.observe()

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the actions, ``(episodes,)``."""
        self._actions = np.asarray(actions, np.intp)

    def step_wait(self) -> tuple[Observations, NDArray[np.float32], Any, list[dict[str, Any]]]:
        """The observations that follow, rewards, which episodes ended, and of these the sum."""
        rewards, ended = self._turns.step(self._actions)
        self._sums += rewards
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for episode in np.flatnonzero(ended).tolist():
            cars = len(self._turns.choice(episode)[0])
            total = float(self._sums[episode])
            infos[episode]["episode"] = {"r": total, "l": SWEEPS * cars}
            self.ended += 1
            self.rewards += total / cars
            self._begin(episode)
        return self._turns.observe(), rewards.astype(np.float32), ended, infos

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Where everything is: arrays, and values that JSON takes."""
        arrays = {**self._turns.state(), "sums": self._sums.copy()}
        values = {"rng": self._rng.bit_generator.state, "ended": self.ended, "sum": self.rewards}
        return arrays, values

    def restore(self, arrays: Mapping[str, NDArray[Any]], values: Mapping[str, Any]) -> None:
        """Go on from there, with the same fleets and as many episodes.

        Raises:
            ValueError, KeyError: if it is the state of something else.
        """
        self._turns.restore(arrays)
        self._sums = np.array(arrays["sums"], np.float64)
        self._rng.bit_generator.state = values["rng"]
        self.ended, self.rewards = int(values["ended"]), float(values["sum"])

    def take_rewards(self) -> float:
        """The mean reward of a car in the episodes that ended since the last call; NaN if none."""
        found = self.rewards / self.ended if self.ended else float("nan")
        self.ended, self.rewards = 0, 0.0
        return found

    def _begin(self, episode: int) -> None:
        fleet, order = draw_episode(self._rng, self._turns.cars, *self._cars)
        self._turns.begin(episode, fleet, order)
        self._sums[episode] = 0.0

    # --- what the base class asks for -----------------------------------------------------------

    def close(self) -> None:
        """There is nothing to close."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """An attribute, for every episode the same."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute for all."""
        setattr(self, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """There are no environments with methods of their own.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"episodes of a fleet have no method {method_name}")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """None is."""
        return [False for _ in self._get_indices(indices)]
