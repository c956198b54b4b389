"""The gymnasium environment of a fleet."""

from __future__ import annotations

import numpy as np
import pytest
from planning.fleet.random_fleets import random_fleet

pytest.importorskip(
    "gymnasium", reason="the extra rl is not installed: pip install -r requirements/rl.txt"
)
from gymnasium.utils.env_checker import check_env

from dapdee_ros.planning.fleet.baselines import each_for_itself
from dapdee_ros.planning.fleet.in_turn import SWEEPS
from dapdee_ros.reinforcement.environment import FleetEnv


def test_it_is_an_environment_as_gymnasium_wants_it() -> None:
    check_env(FleetEnv([random_fleet(seed, 6) for seed in range(3)]), skip_render_check=True)


def test_an_episode_has_every_cars_turns_and_its_rewards_are_what_is_saved() -> None:
    fleet = random_fleet(5, 7)
    env = FleetEnv([fleet], fewest_cars=7, most_cars=7)
    _, info = env.reset(seed=3)
    began = info["cost"]
    assert began == pytest.approx(each_for_itself(fleet).total_cost)
    env.action_space.seed(3)
    rewards, costs, over = [], [began], False
    while not over:
        seen, reward, over, cut, info = env.step(env.action_space.sample())
        assert env.observation_space.contains(seen) and not cut
        rewards.append(reward)
        costs.append(info["cost"])
    assert len(rewards) == SWEEPS * 7
    scale = (costs[0] - costs[-1]) / sum(rewards)
    assert np.array(rewards) * scale == pytest.approx(-np.diff(costs), abs=1e-9)


def test_the_same_seed_draws_the_same_episodes_of_as_many_cars_as_wished() -> None:
    fleets = [random_fleet(seed, 9) for seed in range(4)]
    env = FleetEnv(fleets, fewest_cars=3, most_cars=5)
    lengths = set()
    first = []
    for turn in range(30):
        env.reset(seed=1 if turn == 0 else None)
        steps, over = 0, False
        while not over:
            _, _, over, _, info = env.step(0)
            steps += 1
        lengths.add(steps // SWEEPS)
        first.append(info["cost"])
    assert lengths == {3, 4, 5} and len(set(first)) > 10
    again = FleetEnv(fleets, fewest_cars=3, most_cars=5)
    seen, _ = again.reset(seed=1)
    assert np.array_equal(seen, env.reset(seed=1)[0])
