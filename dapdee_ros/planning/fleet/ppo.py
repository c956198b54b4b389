"""The joint choice by a policy that was learned with proximal policy optimisation (PPO).

After Y. Ma, Y. Wang, B. Tang: Joint Optimization of Model Partitioning and Resource Allocation for
Multi-Exit DNNs in Edge-Device Collaboration, Electronics 2025, 14(8), 1647; what was decided where
their paper is not public is in docs/fidelity.md. The policy is a small network in ONNX, trained by
``reinforcement``; here ONNX Runtime computes it, and the cars choose in turn (``in_turn``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dapdee_ros.planning.candidates import Bools, Floats, Ints
from dapdee_ros.planning.errors import PolicyError
from dapdee_ros.planning.fleet.fleet import Fleet, JointChoice, joint_choice
from dapdee_ros.planning.fleet.in_turn import (
    SWEEPS,
    WEIGHTS,
    InTurn,
    Observations,
    observation_size,
)
from dapdee_ros.planning.fleet.short_list import LENGTH, short_lists

SHIPPED = Path(__file__).with_name("ppo.onnx")
"""The policy that comes with the package."""

PROPERTY = "dapdee_fleet_policy"
"""Metadata of the file: a JSON object with at least what ``decides`` returns."""

_MOST_BYTES = 2_000_000
_ANEW = "train one with `dapdee fleet train-ppo`"


def decides(length: int = LENGTH) -> dict[str, Any]:
    """What a policy decides about; one for anything else has learned another task."""
    return {
        "format": 1,
        "observation": observation_size(length),
        "length": length,
        "weights": list(WEIGHTS),
        "sweeps": SWEEPS,
    }


class LearnedPolicy:
    """A way to choose for a whole fleet, learned before.

    Attributes:
        about: what the file says of itself: what it decides about, how it was trained.
    """

    def __init__(
        self, scores: Callable[[Observations], Floats], about: Mapping[str, Any] | None = None
    ) -> None:
        """Wrap a network.

        Args:
            scores: gives each action of ``InTurn.step`` a score, ``(episodes, actions)``, for
                observations ``(episodes, observation_size(LENGTH))``; the highest is taken.
            about: what is known of it.
        """
        self.about: Mapping[str, Any] = about or decides()
        self._scores = scores

    @classmethod
    def load(cls, path: Path) -> LearnedPolicy:
        """Read a policy.

        Raises:
            PolicyError: if there is none, or the file is none or one for another task.
        """
        try:
            with path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise PolicyError(
                f"the policy {path} cannot be read ({error.strerror}): {_ANEW}"
            ) from error
        return cls.of(content, str(path))

    @classmethod
    def of(cls, content: bytes, name: str = "the policy") -> LearnedPolicy:
        """A policy from its file's content.

        Raises:
            PolicyError: if it is none, or one for another task.
        """
        import onnx
        from google.protobuf.message import DecodeError

        from dapdee_ros.engines.engine import EngineError
        from dapdee_ros.engines.onnxruntime_sessions import small_session

        if len(content) > _MOST_BYTES:
            raise PolicyError(f"{name} has more than {_MOST_BYTES} bytes: that is no policy")
        try:
            model = onnx.load_model_from_string(content)
            told = {one.key: one.value for one in model.metadata_props}
            about = json.loads(told[PROPERTY])
        except (DecodeError, KeyError, ValueError) as error:
            raise PolicyError(f"{name} is no policy for fleets: {_ANEW}") from error
        wanted = decides()
        if not isinstance(about, dict) or {key: about.get(key) for key in wanted} != wanted:
            raise PolicyError(f"{name} decides about something else than {wanted}: {_ANEW}")
        try:
            session = small_session(model, 1, ("cpu",))
            (given,), (made,) = session.get_inputs(), session.get_outputs()
        except (EngineError, ValueError) as error:
            raise PolicyError(f"{name} cannot be computed ({error}): {_ANEW}") from error

        def scores(seen: Observations) -> Floats:
            return np.asarray(session.run([made.name], {given.name: seen})[0])

        try:
            tried = scores(np.ones((2, observation_size(LENGTH)), np.float32))
        except Exception as error:  # ONNX Runtime's own exceptions have no common class
            raise PolicyError(f"{name} cannot be computed ({error}): {_ANEW}") from error
        expected = (2, LENGTH * len(WEIGHTS))
        if tried.shape != expected or not np.isfinite(tried).all():
            raise PolicyError(
                f"{name} scores actions with {tried.shape} numbers, finite: "
                f"{bool(np.isfinite(tried).all())}; expected {expected} finite ones: {_ANEW}"
            )
        return cls(scores, about)

    def choose(self, fleet: Fleet) -> JointChoice:
        """The joint choice.

        A car that cannot meet its deadline with everything to itself is planned for without one.
        """
        part, numbers = fleet.reduced
        lists = short_lists(part)
        turns, every = InTurn([lists]), np.arange(len(part.cars))
        turns.begin(0, 0, every)
        over = False
        while not over:
            _, ended = turns.step(self._scores(turns.observe()).argmax(axis=1))
            over = bool(ended[0])
        place, weight = turns.choice()
        rows = lists.row[every, place]
        return fleet.as_chosen(joint_choice(part, rows, *_shares(part, rows, weight)), numbers)


@cache
def shipped() -> LearnedPolicy:
    """The policy that comes with the package.

    Raises:
        PolicyError: if it was taken away.
    """
    return LearnedPolicy.load(SHIPPED)


def by_ppo(fleet: Fleet) -> JointChoice:
    """The joint choice by the shipped policy; as ``LearnedPolicy.choose``."""
    return shipped().choose(fleet)


def _shares(fleet: Fleet, rows: Ints, weight: Floats) -> tuple[Floats, Floats]:
    """Shares of the servers by weight, and equal ones of the cells, ``(cars,)`` each."""
    r = fleet.rows
    return (
        _divided(r.server[rows], r.edge_s[rows] > 0, weight),
        _divided(r.cell[rows], r.air_s[rows] > 0, np.ones(len(rows))),
    )


def _divided(of: Ints, uses: Bools, weight: Floats) -> Floats:
    total = np.bincount(of[uses], weight[uses], max(int(of.max()), 0) + 1)
    return np.where(uses, weight / np.where(uses, total[of], 1.0), 0.0)
