"""One run of a fleet under one policy: the same every time for the same scenario."""

from __future__ import annotations

import math
from collections.abc import Callable

from dapdee_ros.core.frames import TailAnswer
from dapdee_ros.core.head_events import Send, Stopped
from dapdee_ros.core.tail import TensorsArrived
from dapdee_ros.simulation.agenda import Agenda
from dapdee_ros.simulation.fleet.agent import FleetAgent, Round
from dapdee_ros.simulation.fleet.air import SharedAir
from dapdee_ros.simulation.fleet.car import FleetMember
from dapdee_ros.simulation.fleet.edge import EdgeJob, EdgeStation
from dapdee_ros.simulation.fleet.members import LoadModel, bundled_model, members_of
from dapdee_ros.simulation.fleet.results import FleetRun, Sample, concluded
from dapdee_ros.simulation.fleet.scenario import FleetScenario

SAMPLE_S = 1.0
"""Between two looks at batteries, servers and cells."""

Progress = Callable[[float], None]


def simulate_fleet(
    scenario: FleetScenario,
    policy: str,
    *,
    progress: Progress | None = None,
    load: LoadModel = bundled_model,
) -> FleetRun:
    """Run a fleet under one policy.

    Args:
        scenario: cars, servers, cells.
        policy: a name of ``agent.WAYS``, or ``alone:`` and the name of a policy for one car.
        progress: called with the simulated time now and then, in s.
        load: gives the models.

    Raises:
        PolicyError: if there is no such policy.
        FleetError: if it cannot plan for a fleet like this; ``exact`` as TooManyStatesError.
        ModelFolderError, PlanningError, CodecError: as ``members_of``.
    """
    return _Simulation(scenario, policy, load).run(progress)


class _Simulation:
    """One run in the making."""

    def __init__(self, scenario: FleetScenario, policy: str, load: LoadModel) -> None:
        self._scenario = scenario
        self._policy = policy
        self._agenda = agenda = Agenda()
        self._members, self._servers = members_of(scenario, load)
        self._agent = FleetAgent(
            self._members, self._servers, scenario.cells, policy, scenario.replan_s
        )
        self._cells = [SharedAir(agenda) for _ in range(scenario.cells)]
        self._edges = [EdgeStation(agenda, server.slowdown) for server in self._servers]
        self._known_up = [True] * len(self._servers)
        self._cars = [
            FleetMember(agenda, member, scenario.replan_s, self._send) for member in self._members
        ]
        self._planned_for: object = None
        self._rounds: list[Round] = []
        self._samples: list[Sample] = []

    def run(self, progress: Progress | None) -> FleetRun:
        """Run it to the end, which can be done once."""
        agenda, end_s = self._agenda, self._scenario.seconds
        for index, server in enumerate(self._servers):
            for from_s, to_s in server.down_s:
                agenda.at(from_s, self._edges[index].fail)
                agenda.at(to_s, self._edges[index].restore)
                for at_s in (from_s, to_s):
                    agenda.at(at_s + self._scenario.detect_s, self._notice, index)
        self._replan()
        self._sample()
        for car in self._cars:
            car.start()
        while agenda.now_s < end_s:
            agenda.run(min(agenda.now_s + SAMPLE_S, end_s))
            if progress is not None:
                progress(agenda.now_s)
        last_s = end_s + max(member.frames.answer_s for member in self._members)
        while agenda.now_s < last_s and not all(car.head.is_idle for car in self._cars):
            agenda.run(min(agenda.now_s + 0.1, last_s))
        for car in self._cars:
            if car.drives:
                car.head.tell(Stopped())
        return concluded(
            self._scenario, self._policy, self._cars, self._servers, self._edges, self._cells,
            self._rounds, self._samples,
        )  # fmt: skip

    # --- planning -------------------------------------------------------------------------------

    def _replan(self) -> None:
        self._plan()
        if self._agenda.now_s < self._scenario.seconds:
            self._agenda.at(self._agenda.now_s + self._scenario.replan_s, self._replan)

    def _notice(self, index: int) -> None:
        if self._known_up[index] != self._edges[index].up:
            self._known_up[index] = self._edges[index].up
            self._plan()

    def _plan(self) -> None:
        """Plan anew if anything is different, and tell every car, if only that its plan holds."""
        now_s = self._agenda.now_s
        levels = {car.member.index: car.level(now_s) for car in self._cars if car.drives}
        if not levels:
            return
        weights = tuple(
            self._members[index].objective(level).energy_s_per_j for index, level in levels.items()
        )
        wanted = (tuple(self._known_up), tuple(levels), weights)
        if wanted != self._planned_for or self._agent.goes_on:
            self._planned_for = wanted
            self._rounds.append(self._agent.plan(now_s, self._known_up, levels))
        assignments = self._rounds[-1].assignments
        for car in self._cars:
            if not car.drives:
                continue
            assignment = assignments[car.member.index]
            if assignment.server >= 0:
                edge = self._edges[assignment.server]
                edge.set_weight(car.member.index, assignment.edge_share)
                cell = self._cells[car.member.cell]
                cell.set_weight(car.member.index, assignment.air_share)
            car.take(assignment)

    # --- frames ---------------------------------------------------------------------------------

    def _send(self, car: FleetMember, send: Send, server: int, due_s: float) -> None:
        member, wire = car.member, self._scenario.wire
        half_s = member.rtt_s[server] / 2
        answer_s = 8 * wire.on_link(wire.answer_bytes) / member.uplink_bps + half_s
        frame = TensorsArrived(
            send.number,
            send.session,
            send.program.plan.exit_number,
            send.sent_s,
            send.sent_bytes,
            car_id=member.name,
            payload=member.book.work(send.program),
        )

        def answer(of: TailAnswer) -> None:
            self._agenda.at(self._agenda.now_s + answer_s, car.take_answer, of)

        job = EdgeJob(member.index, frame, due_s - answer_s, member.problem.edge.overhead, answer)
        air_s = 8 * round(wire.on_link(send.sent_bytes + wire.frame_bytes)) / member.uplink_bps
        self._cells[member.cell].send(member.index, air_s, self._arrive, half_s, server, job)

    def _arrive(self, half_s: float, server: int, job: EdgeJob) -> None:
        self._agenda.at(self._agenda.now_s + half_s, self._edges[server].submit, job)

    # --- what is looked at ----------------------------------------------------------------------

    def _sample(self) -> None:
        now_s = self._agenda.now_s
        levels = []
        for car in self._cars:
            level = car.level(now_s)
            if car.drives and level <= 0:
                car.stop()
            if not math.isnan(level):
                levels.append(level)
        self._samples.append(
            Sample(
                now_s,
                sum(car.energy_j for car in self._cars),
                sum(levels) / len(levels) if levels else math.nan,
                sum(car.drives for car in self._cars),
                tuple(edge.busy_s for edge in self._edges),
                tuple(cell.busy_s for cell in self._cells),
            )
        )
        if now_s < self._scenario.seconds:
            self._agenda.at(now_s + SAMPLE_S, self._sample)
