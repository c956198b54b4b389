"""The oracle's plans: for each frame the best in view of what the link truly will do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Policy, Problem, Situation, ask
from dapdee_ros.planning.sites import Hop
from dapdee_ros.simulation.agenda import Agenda
from dapdee_ros.simulation.scenario import Scenario
from dapdee_ros.simulation.shaper import ShapedLink

_LEAST_LEFT_S = 1e-6


class Foresight:
    """Asks the oracle for every frame, when the car is about to begin it.

    It knows the slowdowns, the uplink's future and its queue. It chooses frame by frame and ignores
    how a frame's tensors delay those behind it.
    """

    def __init__(
        self,
        agenda: Agenda,
        scenario: Scenario,
        oracle: Policy,
        uplink: ShapedLink,
    ) -> None:
        """Prepare for one run."""
        self._agenda = agenda
        self._scenario = scenario
        self._oracle = oracle
        self._uplink = uplink

    @property
    def _problem(self) -> Problem:
        return self._scenario.problem

    def plan(self, accepted_s: float, situation: Situation) -> Plan:
        """The best plan for a frame that came at a time, with the true link and loads.

        What the frame has waited already counts against its deadline.
        """
        scenario, now_s = self._scenario, self._agenda.now_s
        left_s = accepted_s + scenario.planning.deadline_s - now_s
        return ask(
            self._oracle,
            replace(
                situation,
                sites=scenario.sites(now_s),
                hops=(Hop(1.0, scenario.rtt_s),),
                window=scenario.planning.max_in_flight,
                deadline_s=max(left_s, _LEAST_LEFT_S),
                true_transfer_s=self._transfer_s,
            ),
            self._problem,
        )

    def _transfer_s(
        self, head_s: NDArray[np.float64], sent_bytes: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Seconds from the end of each head until its answer is there, the edge's own left out."""
        scenario = self._scenario
        wire, trace = scenario.wire, scenario.link
        ready_s = self._agenda.now_s + head_s
        message = sent_bytes + wire.frame_bytes
        packets = np.ceil(message / (wire.packet_bytes - wire.packet_header_bytes))
        start_s = np.maximum(ready_s, self._uplink.free_s)
        arrived_s = trace.finish_times(start_s, message + packets * wire.packet_header_bytes)
        answered_s = trace.finish_times(arrived_s, np.full_like(head_s, _answer_bytes(scenario)))
        return answered_s - ready_s + scenario.rtt_s


def _answer_bytes(scenario: Scenario) -> float:
    return scenario.wire.on_link(scenario.wire.answer_bytes)
