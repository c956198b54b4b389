"""The head's rules, event by event, and under any order of events."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapdee_ros.core.frames import FramePlan, Place, Status, TailAnswer
from dapdee_ros.core.head import SHUTDOWN, SUPERSEDED, HeadCore
from dapdee_ros.core.head_events import (
    Action,
    AnswerArrived,
    ComputingFailed,
    Drop,
    Encode,
    Encoded,
    Event,
    Finish,
    Finished,
    FrameArrived,
    GateComputed,
    HeadComputed,
    Job,
    ManagerHeard,
    PlanArrived,
    PlanExpired,
    PlanHoldsAgain,
    Publish,
    Refused,
    RunHead,
    RunRest,
    Send,
    SendFailed,
    Stopped,
    TimePassed,
    Unused,
    WakeAt,
)
from dapdee_ros.core.head_settings import HeadSettings
from dapdee_ros.core.ledger import DropKind
from dapdee_ros.core.programs import HeadProgram
from dapdee_ros.tasks.classification import Classification

SESSION = 7
SIGN = Classification(1, 0.9, (1,), (0.9,))
DEADLINE_S = 0.3


def alone(exit_number: int, head_s: float) -> HeadProgram:
    outputs = (f"exit{exit_number}",)
    plan = FramePlan(0, exit_number)
    return HeadProgram(plan, (outputs,), (), outputs, (), math.nan, head_s, {})


ALONE = [alone(1, 0.01), alone(2, 0.04)]


def sending(epoch: int = 1, *, gate: int | None = None, remote_s: float = 0.05) -> HeadProgram:
    plan = FramePlan(
        epoch, 2, ("stem",), "f32", gate, 0.8, remote_s, deadline_s=DEADLINE_S, max_in_flight=2
    )
    stages = (("exit1",), ("stem",)) if gate else (("stem",),)
    return HeadProgram(plan, stages, ("stem",), (), ("stem",), 0.01, 0.02, {1: 0.01, 2: 0.04})


def new(**changes: Any) -> HeadCore:
    return HeadCore(ALONE, SESSION, HeadSettings(**changes))


def answer(number: int, status: Status = Status.OK, **changes: Any) -> AnswerArrived:
    told = TailAnswer(
        number, SESSION, status, "", SIGN if status is Status.OK else None, 2, 0.01, 0.02, 0.0
    )
    return AnswerArrived(replace(told, **changes))


def sent(core: HeadCore, at_s: float = 0.0) -> int:
    """Bring one frame under a plan that sends, up to its sending; returns its number."""
    core.handle(at_s, PlanArrived(sending()))
    (begun,) = core.handle(at_s, FrameArrived())
    assert isinstance(begun, RunHead)
    core.handle(at_s + 0.02, HeadComputed(begun.number, None, 0.02))
    actions = core.handle(at_s + 0.021, Encoded(begun.number, 500))
    assert isinstance(actions[0], Send)
    return begun.number


def result(actions: list[Action]) -> Any:
    (found,) = [a.result for a in actions if isinstance(a, Publish)]
    return found


def test_without_a_manager_the_car_does_all_it_keeps_up_with() -> None:
    core = new()
    (job,) = core.handle(0.0, FrameArrived("image"))
    assert job == RunHead(1, "image", ALONE[1])
    found = result(core.handle(0.05, HeadComputed(1, SIGN, 0.04)))
    assert (found.place, found.exit_number, found.answer) == (Place.CAR, 2, SIGN)
    assert (found.head_s, found.latency_s, found.car_slowdown) == (0.05, 0.05, 1.0)


def test_an_answer_ends_its_frame_once_and_a_late_one_is_told_of_once() -> None:
    core = new()
    number = sent(core)
    found = result(core.handle(0.1, answer(number)))
    assert found.place is Place.EDGE
    assert found.transfer_s == pytest.approx(0.1 - 0.021 - 0.02)
    assert core.handle(0.11, answer(number)) == []
    assert core.ledger.summary().late_answers == 1


def test_without_an_answer_the_car_finishes_in_time_and_a_late_answer_measures_the_link() -> None:
    core = new(margin_s=0.02)
    number = sent(core)
    at_s = DEADLINE_S - 0.02 - 0.04
    (wake,) = core.handle(at_s - 0.001, TimePassed())
    assert isinstance(wake, WakeAt) and wake.at_s == pytest.approx(at_s)
    (job,) = core.handle(at_s, TimePassed())
    assert job == Finish(number, 2)
    late = answer(number)
    assert core.handle(at_s + 0.01, late) == [Unused(late.answer, 0.021, 500)]
    assert core.handle(at_s + 0.02, late) == []
    found = result(core.handle(at_s + 0.04, Finished(number, SIGN, 0.04)))
    assert (found.place, found.latency_s <= DEADLINE_S) == (Place.CAR_FALLBACK, True)
    assert found.detail == "no answer from the edge in time"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (answer(1, Status.BAD_TENSOR, detail="no such tensor"), "no such tensor"),
        (answer(1, exit_number=1), "exit 1 instead of 2"),
        (answer(1, residence_s=9.0), "round trip"),
        (answer(1, residence_s=math.nan), "nan s of residence"),
        (answer(1, tail_s=-1.0), "-1.0 s of computing"),
        (replace(answer(1), misfit="it names no class"), "no class"),
    ],
)
def test_an_answer_that_cannot_be_is_refused_and_the_car_finishes_at_once(
    wrong: AnswerArrived, words: str
) -> None:
    core = new()
    sent(core)
    actions = core.handle(0.1, wrong)
    assert [type(a) for a in actions] == [Refused, Unused, Finish]
    assert words in actions[0].reason  # type: ignore[union-attr]
    found = result(core.handle(0.14, Finished(1, SIGN, 0.04)))
    assert found.place is Place.CAR_FALLBACK and words in found.detail
    assert core.ledger.summary().rejected == 1


def test_a_busy_edge_narrows_the_window_and_is_no_refusal() -> None:
    core = new()
    number = sent(core)
    actions = core.handle(0.1, answer(number, Status.BUSY))
    assert [type(a) for a in actions] == [Unused, Finish]
    core.handle(0.14, Finished(number, SIGN, 0.04))
    # A window of 2 has become one of 1: beside the next frame none is sent.
    sent(core, 0.2)
    core.handle(0.25, FrameArrived())
    assert core.handle(0.27, HeadComputed(3, None, 0.02)) == [Finish(3, 2)]
    assert core.ledger.summary().refusals == {Status.BUSY: 1}


def test_a_late_answer_narrows_the_window_and_timely_ones_widen_it() -> None:
    core = new(margin_s=0.02)
    number = sent(core)
    at_s = DEADLINE_S - 0.02 - 0.04
    core.handle(at_s, TimePassed())
    core.handle(at_s + 0.01, answer(number))
    core.handle(at_s + 0.02, Finished(number, SIGN, 0.04))
    # A window of 2 has become one of 1: beside the next frame none is sent.
    second = sent(core, 1.0)
    core.handle(1.03, FrameArrived())
    assert core.handle(1.05, HeadComputed(3, None, 0.02)) == [Finish(3, 2)]
    core.handle(1.09, Finished(3, SIGN, 0.04))
    # Answered in less than half of the time that it had: so there is time for two.
    core.handle(1.1, answer(second))
    sent(core, 2.0)
    core.handle(2.03, FrameArrived())
    assert core.handle(2.05, HeadComputed(5, None, 0.02)) == [Encode(5)]


def test_a_frame_that_finds_the_window_full_waits_or_is_finished_here() -> None:
    core = new()
    for at_s in (0.0, 0.1):
        sent(core, at_s)
    # The car alone takes 0.06 s and frames come every 0.1 s: it does not wait.
    (job, *_) = core.handle(0.2, FrameArrived())
    assert isinstance(job, RunHead)
    (finish,) = core.handle(0.22, HeadComputed(3, None, 0.02))
    # Two others will want the car before its deadline, so only the shallow exit is affordable.
    assert finish == Finish(3, 1)
    found = result(core.handle(0.23, Finished(3, SIGN, 0.01)))
    assert (found.detail, found.sent_bytes) == ("the window to the edge is full", 0)


def test_a_gate_ends_a_frame_from_its_threshold_on() -> None:
    core = new()
    core.handle(0.0, PlanArrived(sending(gate=1)))
    core.handle(0.0, FrameArrived())
    found = result(core.handle(0.01, GateComputed(1, 0.8, SIGN, 0.01)))
    assert (found.place, found.exit_number, found.sent_bytes) == (Place.CAR, 1, 0)
    core.handle(0.1, FrameArrived())
    assert core.handle(0.11, GateComputed(2, 0.79, SIGN, 0.01)) == [RunRest(2)]
    assert core.handle(0.12, HeadComputed(2, None, 0.02)) == [Encode(2)]


def test_a_plan_expires_with_its_manager_and_says_so_once() -> None:
    core = new(plan_timeout_s=2.0)
    core.handle(0.0, PlanArrived(sending()))

    def whole(at_s: float) -> list[Action]:
        actions = core.handle(at_s, FrameArrived())
        (job,) = [a for a in actions if isinstance(a, RunHead)]
        core.handle(at_s + 0.01, ComputingFailed(job.number, "x", DropKind.FAILED))
        return actions

    assert not [a for a in whole(2.0) if isinstance(a, PlanExpired)]
    assert PlanExpired(2.0) in whole(2.1)
    assert not [a for a in whole(2.2) if isinstance(a, PlanExpired)]
    core.handle(2.3, ManagerHeard())
    assert PlanHoldsAgain(1) in whole(2.4)


def test_what_could_not_be_sent_is_finished_here_at_once() -> None:
    core = new()
    number = sent(core)
    (job,) = core.handle(0.03, SendFailed(number, "no route"))
    assert job == Finish(number, 2)
    assert "no route" in result(core.handle(0.07, Finished(number, SIGN, 0.04))).detail


def test_a_newer_frame_displaces_the_one_that_waits() -> None:
    core = new()
    core.handle(0.0, FrameArrived())
    core.handle(0.01, FrameArrived())
    assert core.handle(0.02, FrameArrived()) == [Drop(2, SUPERSEDED, DropKind.SUPERSEDED)]
    actions = core.handle(0.05, HeadComputed(1, SIGN, 0.04))
    assert [type(a) for a in actions] == [Publish, RunHead]


def test_events_of_frames_that_are_not_in_work_are_a_defect_of_the_driver() -> None:
    core = new()
    for event in (HeadComputed(1, None, 0.1), Encoded(1, 5), Finished(1, SIGN, 0.1)):
        with pytest.raises(ValueError, match="not in work"):
            core.handle(0.0, event)


CHANCES = st.lists(
    st.tuples(
        st.sampled_from(["frame", "plan", "gated", "heard", "answer", "busy", "work", "time"]),
        st.floats(0.0, 0.2),
        st.integers(0, 9),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(CHANCES)
def test_whatever_happens_every_frame_ends_once_and_one_job_is_in_work(
    chances: list[tuple[str, float, int]],
) -> None:
    core, now_s, wake_s, epoch = new(), 0.0, math.inf, 0
    job: Job | None = None
    ended: Counter[int] = Counter()
    flying: dict[int, float] = {}
    begun_s: dict[int, float] = {}

    def tell(event: Event) -> None:
        nonlocal job, wake_s
        for action in core.handle(now_s, event):
            if isinstance(action, Job):
                assert job is None, f"{action} beside {job}"
                job = action
                begun_s[action.number] = now_s
                flying.pop(action.number, None)
            elif isinstance(action, WakeAt):
                wake_s = action.at_s
            elif isinstance(action, Send):
                flying[action.number] = now_s
                assert len(flying) <= 2
            elif isinstance(action, Publish):
                ended[action.result.number] += 1
                flying.pop(action.result.number, None)
                assert action.result.latency_s >= 0
            elif isinstance(action, Drop):
                ended[action.number] += 1
                flying.pop(action.number, None)
        assert core.ledger.summary().balanced

    def work(choice: int) -> None:
        nonlocal job
        done, job = job, None
        assert done is not None
        spent_s = now_s - begun_s[done.number]
        if choice == 9:
            tell(ComputingFailed(done.number, "broken", DropKind.FAILED))
        elif isinstance(done, RunHead) and done.program.plan.gate is not None:
            tell(GateComputed(done.number, choice / 8, SIGN, spent_s))
        elif isinstance(done, (RunHead, RunRest)):
            tell(HeadComputed(done.number, SIGN, spent_s))
        elif isinstance(done, Encode):
            tell(Encoded(done.number, 100 + choice))
        else:
            tell(Finished(done.number, SIGN, spent_s))

    for what, after_s, choice in chances:
        now_s += after_s
        if what == "frame":
            tell(FrameArrived())
        elif what in ("plan", "gated"):
            epoch += 1
            tell(PlanArrived(sending(epoch, gate=1 if what == "gated" else None)))
        elif what == "heard":
            tell(ManagerHeard())
        elif what in ("answer", "busy"):
            number = [*flying][choice % len(flying)] if flying and choice < 7 else choice
            status = Status.OK if what == "answer" else Status.BUSY
            tell(answer(number, status, residence_s=0.0))
        elif what == "work" and job is not None:
            work(choice)
        elif what == "time":
            now_s = max(now_s, wake_s) if math.isfinite(wake_s) else now_s
            wake_s = math.inf
            tell(TimePassed())
    tell(Stopped())
    while job is not None:
        work(8)
    tell(FrameArrived())
    summary = core.ledger.summary()
    assert summary.in_flight == 0 and core.queue_depth == 0
    assert summary.reasons[SHUTDOWN] >= 1
    assert set(ended.values()) == {1} and len(ended) == summary.accepted
