"""What the head does when an edge server fails its frames and another one could finish them."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapdee_ros.core.flights import DOUBT_S
from dapdee_ros.core.frames import FramePlan, Place, Server, Status, TailAnswer
from dapdee_ros.core.head import HeadCore
from dapdee_ros.core.head_events import (
    Action,
    AnswerArrived,
    Drop,
    Encode,
    Encoded,
    Event,
    Finish,
    Finished,
    FrameArrived,
    HeadComputed,
    Job,
    PlanArrived,
    Publish,
    RunHead,
    Send,
    Stopped,
    TimePassed,
    Unused,
    WakeAt,
)
from dapdee_ros.core.head_settings import HeadSettings
from dapdee_ros.core.patience import PATIENCE, SLACK_S, hand_over_time
from dapdee_ros.core.programs import HeadProgram
from dapdee_ros.tasks.classification import Classification

SESSION = 7
SIGN = Classification(1, 0.9, (1,), (0.9,))
DEADLINE_S = 0.5
MARGIN_S = 0.02
REMOTE_S = 0.05
QUICKEST_S = 0.01
LAST_S = DEADLINE_S - MARGIN_S - QUICKEST_S
HANDED_OVER_S = 0.02 + 3 * (REMOTE_S + SLACK_S)
"""When a frame of ``sent`` is given to the spare."""

HERE = HeadProgram(FramePlan(0, 1), (("exit1",),), (), ("exit1",), (), math.nan, 0.01, {})


def plan(epoch: int = 1, *spares: Server, window: int = 3) -> HeadProgram:
    told = FramePlan(
        epoch, 2, ("stem",), predicted_remote_s=REMOTE_S, deadline_s=DEADLINE_S,
        max_in_flight=window, server="edge1", spares=spares,
    )  # fmt: skip
    return HeadProgram(
        told, (("stem",),), ("stem",), (), ("stem",), math.nan, 0.02, {1: QUICKEST_S, 2: 0.2}
    )


SPARE = Server("edge2", 0.06, 0.02)


def new(*spares: Server) -> HeadCore:
    core = HeadCore([HERE], SESSION, HeadSettings(margin_s=MARGIN_S))
    core.handle(0.0, PlanArrived(plan(1, *spares)))
    return core


def answer(number: int, server: str, status: Status = Status.OK, **more: Any) -> AnswerArrived:
    found = SIGN if status is Status.OK else None
    return AnswerArrived(
        TailAnswer(number, SESSION, status, "", found, 2, 0.01, 0.01, 0.0, server=server, **more)
    )


def sent(core: HeadCore, at_s: float = 0.0) -> Send:
    """Bring one frame up to its sending."""
    (begun,) = [a for a in core.handle(at_s, FrameArrived()) if isinstance(a, RunHead)]
    core.handle(at_s + 0.02, HeadComputed(begun.number, None, 0.02))
    return the(Send, core.handle(at_s + 0.02, Encoded(begun.number, 500)))


def the(kind: type, actions: list[Action]) -> Any:
    (found,) = [a for a in actions if isinstance(a, kind)]
    return found


def test_a_silent_server_has_its_frame_finished_by_another_one() -> None:
    core = new(SPARE)
    first = sent(core)
    assert (first.server, first.keep) == ("edge1", True)
    assert the(WakeAt, core.handle(0.03, TimePassed())).at_s == pytest.approx(HANDED_OVER_S)
    again = the(Send, core.handle(HANDED_OVER_S, TimePassed()))
    assert (again.number, again.server, again.keep) == (first.number, "edge2", False)
    assert again.answer_within_s > SPARE.remote_s
    result = the(Publish, core.handle(0.3, answer(first.number, "edge2"))).result
    assert (result.place, result.server, result.site) == (Place.EDGE, "edge2", "edge2")
    assert result.sent_s == again.sent_s
    assert result.transfer_s == pytest.approx(0.3 - again.sent_s - 0.01)
    assert result.detail == "no answer from server edge1 in time"
    assert core.ledger.summary().in_flight == 0


def test_the_first_answer_counts_also_if_it_is_that_of_the_server_that_was_given_up() -> None:
    core = new(SPARE)
    first = sent(core)
    core.handle(HANDED_OVER_S, TimePassed())
    result = the(Publish, core.handle(0.3, answer(first.number, "edge1"))).result
    assert (result.server, result.sent_s) == ("edge1", first.sent_s)
    assert result.transfer_s == pytest.approx(0.3 - first.sent_s - 0.01)
    # The other one's measures its link all the same, from when it was asked.
    late = the(Unused, core.handle(0.31, answer(first.number, "edge2")))
    assert late.sent_s == HANDED_OVER_S
    assert core.ledger.summary().late_answers == 1


def test_a_server_that_was_not_asked_ends_no_frame() -> None:
    core = new(SPARE)
    first = sent(core)
    assert core.handle(0.1, answer(first.number, "edge2")) == []
    assert core.ledger.summary().in_flight == 1


def test_if_both_are_silent_the_car_finishes_in_time() -> None:
    core = new(SPARE)
    number = sent(core).number
    core.handle(HANDED_OVER_S, TimePassed())
    wake = the(WakeAt, core.handle(0.25, TimePassed()))
    assert wake.at_s <= LAST_S
    job = the(Finish, core.handle(wake.at_s, TimePassed()))
    done_s = wake.at_s + (QUICKEST_S if job.exit_number == 1 else 0.2)
    result = the(Publish, core.handle(done_s, Finished(number, SIGN, 0.01))).result
    assert (result.place, result.server) == (Place.CAR_FALLBACK, "edge2")
    assert result.latency_s <= DEADLINE_S


@pytest.mark.parametrize("spare", [Server("edge2", 0.4), Server("edge2", math.nan)])
def test_a_server_that_would_be_late_is_not_asked(spare: Server) -> None:
    core = new(spare)
    sent(core)
    wake = the(WakeAt, core.handle(0.03, TimePassed()))
    assert the(Finish, core.handle(wake.at_s, TimePassed()))


def test_a_frame_that_is_handed_over_too_late_is_finished_on_the_car() -> None:
    core = new(SPARE)
    sent(core)
    # As on a thread that computed for long.
    assert the(Finish, core.handle(LAST_S - SPARE.remote_s, TimePassed()))


def test_handing_over_needs_no_inference_thread() -> None:
    core = new(SPARE)
    sent(core)
    assert the(RunHead, core.handle(0.1, FrameArrived()))
    assert the(Send, core.handle(HANDED_OVER_S, FrameArrived())).server == "edge2"


@pytest.mark.parametrize("status", [Status.DRAINING, Status.ERROR, Status.BUSY])
def test_a_refused_frame_goes_to_another_server_at_once(status: Status) -> None:
    core = new(SPARE)
    number = sent(core).number
    assert the(Send, core.handle(0.05, answer(number, "edge1", status))).server == "edge2"
    assert the(Publish, core.handle(0.1, answer(number, "edge2"))).result.server == "edge2"
    # One that refuses for longer is not asked again at once; one that is busy is.
    assert sent(core, 0.2).server == ("edge1" if status is Status.BUSY else "edge2")


def test_a_frame_does_not_go_to_and_fro_between_busy_servers() -> None:
    core = new(SPARE)
    number = sent(core).number
    core.handle(0.05, answer(number, "edge1", Status.BUSY))
    assert the(Finish, core.handle(0.06, answer(number, "edge2", Status.BUSY)))


def test_a_refusal_of_the_server_given_up_does_not_end_the_wait_for_the_other() -> None:
    core = new(SPARE)
    number = sent(core).number
    core.handle(HANDED_OVER_S, TimePassed())
    late = core.handle(0.3, answer(number, "edge1", Status.DRAINING))
    assert not [a for a in late if isinstance(a, Finish | Send)]
    assert the(Publish, core.handle(0.32, answer(number, "edge2"))).result.place is Place.EDGE


def test_a_spare_that_takes_no_more_frames_now_gets_none() -> None:
    core = new(SPARE)
    asked = []
    for n in range(4):
        at_s = 0.1 * n
        number = sent(core, at_s).number
        actions = core.handle(at_s + 0.03, answer(number, "edge1", Status.BUSY))
        again = [a for a in actions if isinstance(a, Send)]
        asked.append(len(again))
        if again:  # it says that this car may send to it every five seconds
            core.handle(at_s + 0.05, answer(number, "edge2", send_interval_s=5.0))
    assert asked == [1, 1, 1, 0]


def test_while_a_server_is_in_doubt_new_frames_go_to_another_until_it_answers() -> None:
    core = new(SPARE)
    first = sent(core)
    core.handle(HANDED_OVER_S, TimePassed())
    second = sent(core, 0.25)
    assert second.server == "edge2"
    core.handle(0.3, answer(first.number, "edge1"))  # so it lives
    assert sent(core, 0.31).server == "edge1"


def test_a_server_in_doubt_is_tried_again_after_a_while() -> None:
    core = new(SPARE)
    number = sent(core).number
    core.handle(HANDED_OVER_S, TimePassed())
    core.handle(0.3, answer(number, "edge2"))
    at_s = HANDED_OVER_S + DOUBT_S
    assert sent(core, at_s - 0.05).server == "edge2"
    assert sent(core, at_s + 0.05).server == "edge1"


def test_without_a_spare_a_silent_server_is_asked_again() -> None:
    core = new()
    first = sent(core)
    assert not first.keep
    wake = the(WakeAt, core.handle(0.03, TimePassed()))
    job = the(Finish, core.handle(wake.at_s, TimePassed()))
    core.handle(wake.at_s + 0.01, Finished(job.number, SIGN, 0.01))
    assert sent(core, 1.0).server == "edge1"


def test_frames_on_their_way_to_a_silent_server_leave_room_for_others() -> None:
    core = new(SPARE)
    for n in range(3):  # the whole window
        sent(core, 0.03 * n)
    core.handle(HANDED_OVER_S, TimePassed())
    # Two of them still wait for edge1, one for edge2: a fourth fits there.
    assert sent(core, HANDED_OVER_S + 0.001).server == "edge2"


@given(st.floats(0.0, 2.0), st.floats(0.001, 1.0) | st.just(math.nan), st.floats(0.001, 1.0))
def test_the_time_to_hand_over_gives_both_servers_time(
    last_s: float, predicted_s: float, spare_s: float
) -> None:
    at_s = hand_over_time(0.0, last_s, predicted_s, spare_s)
    own_s = 0.0 if math.isnan(predicted_s) else PATIENCE * (predicted_s + SLACK_S)
    if math.isinf(at_s):
        assert own_s + spare_s + SLACK_S > last_s
    else:
        assert own_s <= at_s <= last_s - spare_s - SLACK_S + 1e-9


CHANCES = st.lists(
    st.tuples(
        st.sampled_from(["frame", "plan", "edge1", "edge2", "work", "time"]),
        st.floats(0.0, 0.2),
        st.integers(0, 9),
    ),
    max_size=80,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(CHANCES)
def test_whatever_two_servers_do_every_frame_ends_once(
    chances: list[tuple[str, float, int]],
) -> None:
    core, now_s, wake_s = new(SPARE), 0.0, math.inf
    job: Job | None = None
    ended: Counter[int] = Counter()
    asked: Counter[tuple[int, str]] = Counter()

    def tell(event: Event) -> None:
        nonlocal job, wake_s
        for action in core.handle(now_s, event):
            if isinstance(action, Job):
                assert job is None
                job = action
            elif isinstance(action, WakeAt):
                wake_s = action.at_s
            elif isinstance(action, Send):
                asked[action.number, action.server] += 1
                assert not ended[action.number]
            elif isinstance(action, Publish):
                ended[action.result.number] += 1
            elif isinstance(action, Drop):
                ended[action.number] += 1
        assert core.ledger.summary().balanced

    def work() -> None:
        nonlocal job
        done, job = job, None
        if isinstance(done, RunHead):
            tell(HeadComputed(done.number, SIGN, 0.02))
        elif isinstance(done, Encode):
            tell(Encoded(done.number, 100))
        elif done is not None:
            tell(Finished(done.number, SIGN, 0.01))

    for what, after_s, choice in chances:
        now_s += after_s
        if what == "frame":
            tell(FrameArrived())
        elif what == "plan":
            tell(PlanArrived(plan(2 + choice, *(SPARE,) * (choice % 2))))
        elif what in ("edge1", "edge2"):
            number = 1 + core.ledger.summary().accepted - choice // 3
            tell(answer(max(1, number), what, list(Status)[choice % 3 and choice % len(Status)]))
        elif what == "work":
            work()
        else:
            now_s, wake_s = max(now_s, wake_s if math.isfinite(wake_s) else now_s), math.inf
            tell(TimePassed())
    tell(Stopped())
    while job is not None:
        work()
    assert core.ledger.summary().in_flight == 0
    assert set(ended.values()) <= {1} and len(ended) == core.ledger.summary().accepted
    assert set(asked.values()) <= {1}
