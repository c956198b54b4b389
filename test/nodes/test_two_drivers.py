"""What a live head did is what its core does under the simulator's driver and on threads again.

A real head, over real DDS, lives through changes of plan, a busy edge, one that is stopped and one
that is killed. Every event of its core is recorded with its time, and played twice: through the
driver of the simulator and through that of the threads. Both have to come to the same actions.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters

from dapdee_ros.core.frames import HeadFrame, Place, Status
from dapdee_ros.core.head import HeadCore
from dapdee_ros.core.head_events import (
    Action,
    AnswerArrived,
    ComputingFailed,
    Encoded,
    Event,
    Finished,
    FrameArrived,
    GateComputed,
    HeadComputed,
    Job,
    ManagerHeard,
    PlanArrived,
    Publish,
    Send,
    SettingsChanged,
    Stopped,
    TimePassed,
)
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import head as head_node
from dapdee_ros.runtime.head import HeadRuntime
from dapdee_ros.simulation.agenda import Agenda
from dapdee_ros.simulation.head import SimulatedHead

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

CARD = read_card(find_model("roadsigns"))
START_S = 60.0
COMPUTED = (GateComputed, HeadComputed, Encoded, Finished, ComputingFailed)
WAIT_S = 20.0


def tick() -> float:
    """The clock in steps of 2^-20 s: sums and differences of such times have no rounding error."""
    return round(time.monotonic() * 2**20) / 2**20


@dataclass
class Record:
    """A core's events with their times, and its actions."""

    entries: list[tuple[float, Event, list[Action]]] = field(default_factory=list)

    def __call__(self, now_s: float, event: Event, actions: Any) -> None:
        self.entries.append((now_s, event, list(actions)))

    def answers(self, status: Status) -> int:
        return sum(
            isinstance(e, AnswerArrived) and e.answer.status is status for _, e, _ in self.entries
        )

    def results(self, place: Place) -> int:
        actions = (action for _, _, actions in self.entries for action in actions)
        return sum(isinstance(a, Publish) and a.result.place is place for a in actions)

    def plans(self) -> int:
        return sum(isinstance(event, PlanArrived) for _, event, _ in self.entries)


def live(ros: RosWorld, monkeypatch: pytest.MonkeyPatch) -> tuple[Record, HeadRuntime]:
    """Have a head live through all of that; returns what was recorded."""
    record = Record()
    runtimes: list[HeadRuntime] = []

    def ticking(*arguments: Any, **options: Any) -> HeadRuntime:
        runtimes.append(HeadRuntime(*arguments, clock=tick, **options))
        return runtimes[-1]

    monkeypatch.setattr(head_node, "HeadRuntime", ticking)
    head = ros.add(head_node.Head(trace=record))
    head.trigger_configure()
    head.trigger_activate()

    def pinned(boundary: str, gate: str = "") -> str:
        return f"exit={len(CARD.dag.exits)} {boundary}{gate}"

    image = f"boundary={CARD.dag.input} codec=f32"
    manager = ros.start("partition_manager", {"pinned_plan": pinned(image), "deadline_s": 0.25})
    # A tail of about 60 ms at 30 frames a second: refusals as busy, and answers all the same.
    edge = ros.start("edge", {"threads": 1, "emulated_slowdown": 12.0})
    ros.start("camera", {"rate_hz": 30.0})
    ros.spin_until(
        lambda: record.results(Place.EDGE) >= 10 and record.answers(Status.BUSY) >= 3,
        START_S,
        "answers and refusals of a busy edge",
    )
    client = ros.node("sets").create_client(SetParameters, "/partition_manager/set_parameters")
    ros.spin_until(client.service_is_ready, START_S)

    def change(name: str, **value: Any) -> None:
        before = record.plans()
        request = SetParameters.Request(
            parameters=[Parameter(name=name, value=ParameterValue(**value))]
        )
        (outcome,) = ros.call(client, request).results
        assert outcome.successful, outcome.reason
        ros.spin_until(lambda: record.plans() > before, START_S, f"a plan after {name}")

    edge.process.send_signal(signal.SIGSTOP)
    fallbacks = record.results(Place.CAR_FALLBACK)
    ros.spin_until(
        lambda: record.results(Place.CAR_FALLBACK) >= fallbacks + 15, START_S, "fallbacks"
    )
    change("deadline_s", type=ParameterType.PARAMETER_DOUBLE, double_value=0.15)
    edge.process.send_signal(signal.SIGCONT)
    ros.spin_for(1.0)
    change("pinned_plan", type=ParameterType.PARAMETER_STRING, string_value=pinned("", ""))
    ros.spin_for(0.5)
    change("pinned_plan", type=ParameterType.PARAMETER_STRING, string_value=pinned(image))
    ros.spin_for(0.5)
    edge.kill()
    fallbacks = record.results(Place.CAR_FALLBACK)
    ros.spin_until(
        lambda: record.results(Place.CAR_FALLBACK) >= fallbacks + 10, START_S, "fallbacks again"
    )
    manager.stop()
    head.trigger_deactivate()
    return record, runtimes[0]


class ScriptedMachine:
    """Says of each job what came of it when it was recorded, and when."""

    def __init__(self, record: Record) -> None:
        self._computed: dict[int, Iterator[tuple[float, Event]]] = {}
        by_number: dict[int, list[tuple[float, Event]]] = {}
        for now_s, event, _ in record.entries:
            if isinstance(event, COMPUTED):
                by_number.setdefault(event.number, []).append((now_s, event))
        self._computed = {number: iter(events) for number, events in by_number.items()}
        self._woken = [t for t, event, _ in record.entries if isinstance(event, TimePassed)]

    def run(self, job: Job, now_s: float) -> tuple[float, Event]:
        at_s, event = next(self._computed[job.number])
        return at_s - now_s, event

    def forget(self, number: int) -> None:
        pass

    def wakes_at(self, at_s: float, now_s: float) -> float:
        return min((t for t in self._woken if t >= max(at_s, now_s)), default=at_s)


def through_the_simulator(record: Record, core: HeadCore) -> Record:
    played, agenda = Record(), Agenda()

    def nothing(*_: object) -> None:
        pass

    head = SimulatedHead(
        agenda,
        core,
        ScriptedMachine(record),
        send=nothing,
        publish=nothing,
        unused=nothing,
        taken=nothing,
        dropped=nothing,
        trace=played,
    )
    for now_s, event, _ in record.entries:
        if not isinstance(event, (*COMPUTED, TimePassed)):
            agenda.at(now_s, head.tell, event)
    agenda.run(record.entries[-1][0])
    return played


class Conductor:
    """Plays a record to a ``HeadRuntime``: it is its clock and its machine, and brings the rest.

    The inference thread sees a time of its own, so that it does not wake before it did.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self._now_s = self._thread_s = record.entries[0][0]
        self._results: dict[int, list[Event]] = {}
        self._told = threading.Condition()
        self._cpu_wait_s = 0.0
        self.played = Record()

    @property
    def cpu_wait(self) -> Conductor:
        return self

    def seconds(self) -> float:
        return self._cpu_wait_s

    def close(self) -> None:
        pass

    def clock(self) -> float:
        inside = threading.current_thread().name == "head"
        return self._thread_s if inside else self._now_s

    def trace(self, now_s: float, event: Event, actions: Any) -> None:
        with self._told:
            self.played(now_s, event, actions)
            self._told.notify_all()

    def run(self, job: Job) -> Event:
        """The machine's part, on the inference thread."""
        with self._told:
            self._told.wait_for(lambda: self._results.get(job.number), WAIT_S)
            return self._results[job.number].pop(0)

    def frame(self, send: Send) -> HeadFrame:
        return HeadFrame(send.number, send.session, send.sent_s, "", 1, "f32", (), b"")

    def forget(self, number: int) -> None:
        pass

    def _has_told(self, step: int) -> Callable[[], bool]:
        return lambda: len(self.played.entries) > step

    def play(self, runtime: HeadRuntime) -> Record:
        for step, (now_s, event, _) in enumerate(self._record.entries):
            with self._told:
                self._now_s = now_s
                if isinstance(event, (*COMPUTED, TimePassed)):
                    self._thread_s = now_s
                if isinstance(event, COMPUTED):
                    self._results.setdefault(event.number, []).append(event)
                    self._told.notify_all()
            if isinstance(event, FrameArrived):
                runtime.accept(event.context)
            elif isinstance(event, PlanArrived):
                runtime.set_plan(event.program.plan)
            elif isinstance(event, ManagerHeard):
                runtime.hear_manager()
            elif isinstance(event, SettingsChanged):
                runtime.settings = event.settings
            elif isinstance(event, AnswerArrived):
                self._cpu_wait_s = event.cpu_wait_s
                runtime.answer(event.answer)
            elif isinstance(event, Stopped):
                runtime.stop()
            with self._told:
                arrived = self._told.wait_for(self._has_told(step), WAIT_S)
            assert arrived, f"event {step}, {type(event).__name__}, does not come"
        return self.played


def compared(record: Record, played: Record, driver: str) -> None:
    for step, (was, is_) in enumerate(zip(record.entries, played.entries, strict=False)):
        assert (was[0], type(was[1])) == (is_[0], type(is_[1])), f"{driver}, event {step}"
        assert was[2] == is_[2], f"{driver}, after event {step}, {type(was[1]).__name__}"
    assert len(record.entries) == len(played.entries), driver


def test_a_live_head_and_both_drivers_do_the_same(
    ros: RosWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, runtime = live(ros, monkeypatch)
    kinds = {type(event) for _, event, _ in record.entries}
    assert kinds >= {
        FrameArrived, PlanArrived, ManagerHeard, HeadComputed, Encoded, Finished, AnswerArrived,
        TimePassed, Stopped,
    }  # fmt: skip
    assert runtime.ledger().late_answers > 0
    programs = runtime._network.alone()
    settings = runtime.settings
    core = HeadCore(programs, runtime.session, settings)
    compared(record, through_the_simulator(record, core), "simulator")
    conductor = Conductor(record)
    again = HeadRuntime(
        runtime._network,
        load=lambda image: image,
        send=lambda frame: None,
        publish=lambda result: None,
        session=runtime.session,
        settings=settings,
        clock=conductor.clock,
        machine=conductor,  # type: ignore[arg-type]
        trace=conductor.trace,
    )
    again.start()
    compared(record, conductor.play(again), "threads")
