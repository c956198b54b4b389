"""Frame sources of a simulation: arrivals and properties of frames."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.core.programs import HeadProgram
from dapdee_ros.simulation.scenario import Scenario
from dapdee_ros.simulation.work import Workbook

_STRATA = 100


class FrameSource(Protocol):
    """Frames, one after another."""

    def arrivals_s(self, rate_hz: float) -> NDArray[np.float64]:
        """When each frame comes under light load, float64 ``(n,)``, rising from 0 or later."""

    def context(self, number: int) -> Any | None:
        """What a frame comes with, counted from 1; None if there are no more."""

    def gate_score(self, number: int, context: Any, program: HeadProgram) -> float:
        """The confidence of the program's gate for a frame, 0 to 1."""

    def sent_bytes(self, number: int, context: Any, program: HeadProgram) -> float:
        """Coded bytes of the program's boundary."""


class ExpectedFrames:
    """Frames with the expected values from calibration and a random difficulty.

    The same for every policy. One of each percent of difficulty comes in every hundred frames, in
    random order: shares of few frames come out as they are in the long run.
    """

    def __init__(self, scenario: Scenario, book: Workbook) -> None:
        """Prepare for one run."""
        self._scenario = scenario
        self._book = book
        self._random = np.random.default_rng(scenario.seed)
        self._difficulty_random = np.random.default_rng([scenario.seed, 1])
        self._difficulties: NDArray[np.float64] = np.empty(0)

    def arrivals_s(self, rate_hz: float) -> NDArray[np.float64]:
        """At the rate, each early or late by a random share of the time between two."""
        scenario = self._scenario
        count = math.ceil(scenario.seconds * rate_hz)
        shift = self._random.uniform(-scenario.jitter, scenario.jitter, count)
        times_s = (np.arange(count) + shift) / rate_hz
        return np.sort(times_s[(times_s < scenario.seconds)].clip(0.0))

    def context(self, number: int) -> float:
        """A frame's difficulty, 0 to 1. Frames have to be requested in order."""
        place = (number - 1) % _STRATA
        if place == 0:
            within = self._difficulty_random.random(_STRATA)
            self._difficulties = (self._difficulty_random.permutation(_STRATA) + within) / _STRATA
        return float(self._difficulties[place])

    def gate_score(self, number: int, context: Any, program: HeadProgram) -> float:
        """Sure (1) of the easiest frames, as many as the gate ends on average; else not (-1)."""
        return 1.0 if context < self._book.work(program).gate_share else -1.0

    def sent_bytes(self, number: int, context: Any, program: HeadProgram) -> float:
        """The mean over the calibration set."""
        return self._book.work(program).coded_bytes
