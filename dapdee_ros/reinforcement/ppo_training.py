"""Training of a policy for fleets by PPO (stable-baselines3), seeded and resumable.

J. Schulman et al.: Proximal Policy Optimization Algorithms, arXiv 1707.06347. A training that was
interrupted goes on to the same weights, bit for bit, as one that was not. Its length is no setting:
the learning rate falls with the steps made, not with those to come, so a finished training can be
made longer.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger

from dapdee_ros.files import write_whole
from dapdee_ros.planning.fleet.fleet import Fleet
from dapdee_ros.planning.fleet.ppo import LearnedPolicy
from dapdee_ros.planning.fleet.price import by_price
from dapdee_ros.planning.fleet.short_list import ShortLists, short_lists
from dapdee_ros.reinforcement.curve import Point, write_curve
from dapdee_ros.reinforcement.export import policy_file
from dapdee_ros.reinforcement.network import TurnsPolicy
from dapdee_ros.reinforcement.vectorised import FleetVecEnv
from dapdee_ros.training.checkpoint import (
    CHECKPOINT_FILE,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)

POLICY_FILE = "policy.onnx"


@dataclass(frozen=True)
class PpoOptions:
    """How it is trained.

    Attributes:
        seed: of everything that is drawn.
        fewest_cars: cars of an episode at least.
        most_cars: at most.
        episodes: how many go on at once.
        steps: of each of them between two updates.
        batch: steps of a gradient.
        epochs: how often an update goes through the steps.
        learning_rate: at first; after ``slows_steps`` steps it is half of that, after twice as many
            a third.
        slows_steps: see there.
        discount: of a reward one step later.
        trace: of generalised advantage estimation (lambda).
        clip: of the ratio of new to old probabilities.
        entropy: weight of the actions' entropy.
        value: weight of the critic's error.
        longest_gradient: gradients are cut off at this length.
        width: of the networks' layers.
        judge_steps: between two looks at fleets that are not trained with.
    """

    seed: int = 0
    fewest_cars: int = 5
    most_cars: int = 50
    episodes: int = 64
    steps: int = 64
    batch: int = 1024
    epochs: int = 4
    learning_rate: float = 1e-3
    slows_steps: float = 3e6
    discount: float = 0.98
    trace: float = 0.9
    clip: float = 0.2
    entropy: float = 0.003
    value: float = 0.25
    longest_gradient: float = 1.0
    width: int = 64
    judge_steps: int = 200_000


class PpoTraining:
    """One training, whose folder holds checkpoint, curve and the best policy so far.

    Attributes:
        points: the looks at it so far.
    """

    def __init__(
        self, fleets: Sequence[Fleet], held_out: Sequence[Fleet], options: PpoOptions, folder: Path
    ) -> None:
        """Prepare, or go on from the folder's checkpoint.

        Args:
            fleets: what episodes are drawn from.
            held_out: what the policy is judged with.
            options: how it is trained.
            folder: where everything is written.

        Raises:
            CheckpointError: if the checkpoint is of another training, or cannot be read.
        """
        self.points: list[Point] = []
        self._options, self._folder, self._held_out = options, folder, held_out
        self._price = [by_price(fleet).total_cost for fleet in held_out]
        lists = [short_lists(fleet.reduced[0]) for fleet in fleets]
        judged = [short_lists(fleet) for fleet in held_out]
        self._identity = {**asdict(options), "fleets": _digest(lists), "held_out": _digest(judged)}
        self._rate = _Rate(options)
        self._spent_s, self._began_s = 0.0, time.monotonic()
        self._env = FleetVecEnv(
            lists, options.episodes, (options.fewest_cars, options.most_cars), options.seed
        )
        self._model = PPO(
            TurnsPolicy,
            self._env,
            learning_rate=self._rate,
            n_steps=options.steps,
            batch_size=options.batch,
            n_epochs=options.epochs,
            gamma=options.discount,
            gae_lambda=options.trace,
            clip_range=options.clip,
            ent_coef=options.entropy,
            vf_coef=options.value,
            max_grad_norm=options.longest_gradient,
            policy_kwargs={"width": options.width},
            seed=options.seed,
            device="cpu",
        )
        # Its own would leave a folder for a log in the system's temporary files.
        self._model.set_logger(Logger(folder=None, output_formats=[]))
        if self.checkpoint.exists():
            self._resume()

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self._folder / CHECKPOINT_FILE

    @property
    def steps(self) -> int:
        """How many have been made."""
        return int(self._model.num_timesteps)

    @property
    def seconds(self) -> float:
        """How long it has been trained, over all resumptions."""
        return self._spent_s + time.monotonic() - self._began_s

    @property
    def best(self) -> Point | None:
        """The look at the policy that is written."""
        return min(self.points, key=lambda point: point.over_price, default=None)

    def run(
        self,
        steps: int,
        stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int], None] = lambda steps: None,
        save_every_s: float = 60.0,
    ) -> bool:
        """Train on until so many steps have been made in all.

        Args:
            steps: in all; whole updates are made.
            stop: whether to stop, asked between two updates.
            progress: told how many steps have been made.
            save_every_s: between two checkpoints.

        Returns:
            False if it was stopped; another one then goes on from the checkpoint.

        Raises:
            FileError: if something cannot be written.
        """
        self._began_s = time.monotonic()
        between = _Between(self, stop, progress, save_every_s)
        if self.steps < steps:
            self._model.learn(
                steps - self.steps, between, log_interval=None, reset_num_timesteps=False
            )
        self._spent_s, self._began_s = self.seconds, time.monotonic()
        return not between.stopped

    # --- between two updates --------------------------------------------------------------------

    def adapt_rate(self) -> None:
        """Set the learning rate of the next update."""
        self._rate.steps = self.steps

    def judge(self, at_once: bool = False) -> None:
        """Look at the policy if it is time, or at once unless that was done; keep the best."""
        last = self.points[-1].steps if self.points else -self._options.judge_steps
        if self.steps - last < (1 if at_once else self._options.judge_steps):
            return
        weights = {name: w.numpy() for name, w in self._model.policy.actor.state_dict().items()}
        content = policy_file(
            weights,
            {
                "steps": self.steps,
                "seed": self._options.seed,
                "cars": [self._options.fewest_cars, self._options.most_cars],
            },
        )
        policy = LearnedPolicy.of(content)
        over = [
            policy.choose(fleet).total_cost / price - 1
            for fleet, price in zip(self._held_out, self._price, strict=True)
        ]
        point = Point(
            self.steps, round(self.seconds, 1), self._env.take_rewards(), float(np.mean(over))
        )
        self.points.append(point)
        if self.best is point:
            write_whole(self._folder / POLICY_FILE, content)
        write_curve(self.points, asdict(self._options), self._folder)

    # --- the checkpoint -------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint; only between two updates.

        Raises:
            FileError: if it cannot be written.
        """
        model = self._model
        arrays, env = self._env.state()
        tensors = {f"policy.{name}": w for name, w in model.policy.state_dict().items()}
        for number, state in model.policy.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in state.items()}
        tensors |= {f"env.{name}": torch.from_numpy(value) for name, value in arrays.items()}
        # stable-baselines3 shuffles with NumPy's global generator and samples with torch's.
        kind, key, *rest = np.random.get_state()  # noqa: NPY002
        tensors["rng.torch"] = torch.get_rng_state()
        tensors["rng.numpy"] = torch.from_numpy(np.asarray(key).astype(np.int64))
        tensors["seen"] = torch.from_numpy(np.asarray(model._last_obs))
        tensors["starts"] = torch.from_numpy(np.asarray(model._last_episode_starts, bool))
        state = {
            "identity": self._identity,
            "steps": self.steps,
            "updates": model._n_updates,
            "seconds": self.seconds,
            "points": [point.to_dict() for point in self.points],
            "env": env,
            "rng": [kind, *rest],
        }
        save_checkpoint(self.checkpoint, tensors, state)

    def _resume(self) -> None:
        tensors, state = load_checkpoint(self.checkpoint)
        kept = state.get("identity")
        if kept != self._identity:
            differing = sorted(
                key for key in self._identity if (kept or {}).get(key) != self._identity[key]
            )
            raise CheckpointError(
                f"{self.checkpoint} is of a training with other {', '.join(differing)}: choose "
                "another folder, or --restart"
            )
        model = self._model
        try:
            parts: dict[str, dict[str, torch.Tensor]] = {}
            for name, tensor in tensors.items():
                part, _, rest = name.partition(".")
                parts.setdefault(part, {})[rest] = tensor
            model.policy.load_state_dict(parts["policy"])
            optimizer: dict[int, dict[str, torch.Tensor]] = {}
            for name, tensor in parts.get("optimizer", {}).items():
                number, _, key = name.partition(".")
                optimizer.setdefault(int(number), {})[key] = tensor
            groups = model.policy.optimizer.state_dict()["param_groups"]
            model.policy.optimizer.load_state_dict({"state": optimizer, "param_groups": groups})
            self._env.restore(
                {name: tensor.numpy().copy() for name, tensor in parts["env"].items()},
                state["env"],
            )
            model._last_obs = tensors["seen"].numpy().copy()
            model._last_episode_starts = tensors["starts"].numpy().copy()
            model.num_timesteps, model._n_updates = int(state["steps"]), int(state["updates"])
            self._spent_s = float(state["seconds"])
            self.points = [Point.of(point) for point in state["points"]]
            kind, *rest = state["rng"]
            words = tensors["rng.numpy"].numpy().astype(np.uint32)
            np.random.set_state((kind, words, *rest))  # noqa: NPY002
            torch.set_rng_state(tensors["rng.torch"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"{self.checkpoint} does not hold a whole training ({error}): remove it to start "
                "over"
            ) from error


class _Rate:
    """The learning rate, by the steps that were made."""

    def __init__(self, options: PpoOptions) -> None:
        self.steps = 0
        self._first, self._slows = options.learning_rate, options.slows_steps

    def __call__(self, _remaining: float) -> float:
        return self._first / (1 + self.steps / self._slows)


class _Between(BaseCallback):  # type: ignore[misc,unused-ignore]
    """What happens between two updates."""

    def __init__(
        self,
        training: PpoTraining,
        stop: Callable[[], bool],
        progress: Callable[[int], None],
        save_every_s: float,
    ) -> None:
        super().__init__()
        self.stopped = False
        self._training, self._stop, self._progress = training, stop, progress
        self._save_every_s, self._saved_s = save_every_s, time.monotonic()

    def _on_rollout_start(self) -> None:
        """The last update is complete; nothing has been drawn for the next one."""
        self._training.judge()
        self._progress(self._training.steps)
        self.stopped = self._stop()
        if self.stopped or time.monotonic() - self._saved_s >= self._save_every_s:
            self._training.save()
            self._saved_s = time.monotonic()

    def _on_step(self) -> bool:
        return not self.stopped

    def _on_rollout_end(self) -> None:
        self._training.adapt_rate()

    def _on_training_end(self) -> None:
        if not self.stopped:
            self._training.judge(at_once=True)
            self._progress(self._training.steps)
            self._training.save()


def _digest(fleets: Sequence[ShortLists]) -> str:
    """What tells fleets from others."""
    found = hashlib.sha256()
    for lists in fleets:
        for column in fields(lists):
            found.update(np.ascontiguousarray(getattr(lists, column.name)).tobytes())
    return found.hexdigest()[:16]
