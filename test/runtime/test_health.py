import math
import threading

import pytest

from dapdee_ros.core.frames import FramePlan, Place, Status
from dapdee_ros.core.ledger import DropKind, FrameLedger, LedgerSummary
from dapdee_ros.estimation.health import Health, Level
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.runtime.health import CameraHealth, EdgeHealth, LedgerHealth, head_health


def judge(health: LedgerHealth, now_s: float, ledger: LedgerSummary, quiet_s: float = 0.1) -> Level:
    fallbacks = ledger.places.get(Place.CAR_FALLBACK, 0)
    return health.judge(now_s, ledger, fallbacks=fallbacks, deadline_s=0.3, quiet_s=quiet_s).level


def frames(ledger: FrameLedger, count: int, *, missed: bool = False, drop: str = "") -> None:
    for _ in range(count):
        number = ledger.accept()
        if drop:
            ledger.end_with_drop(number, drop)
        else:
            ledger.end_with_result(number, Place.EDGE, missed=missed)


def test_a_ledger_is_judged_by_the_last_seconds() -> None:
    ledger, health = FrameLedger(), LedgerHealth()
    frames(ledger, 100)
    assert judge(health, 1.0, ledger.summary()) is Level.OK
    frames(ledger, 50, missed=True)
    assert judge(health, 2.0, ledger.summary()) is Level.WARN
    frames(ledger, 100)
    assert judge(health, 20.0, ledger.summary()) is Level.OK  # long ago
    frames(ledger, 10, drop="superseded")
    assert judge(health, 21.0, ledger.summary()) is Level.WARN
    assert judge(health, 40.0, ledger.summary(), quiet_s=9.0) is Level.STALE
    assert judge(health, 41.0, ledger.summary(), quiet_s=math.inf) is Level.STALE


def test_an_unbalanced_ledger_is_an_error() -> None:
    summary = LedgerSummary(10, 5, 1, 2, {Place.EDGE: 5}, {"x": 1}, 0, 0, 0)
    assert not summary.balanced
    assert judge(LedgerHealth(), 1.0, summary) is Level.ERROR


def test_a_head_without_a_plan_warns() -> None:
    def judged(epoch: int, manager_silent_s: float, manager_plans: bool = True) -> Health:
        return head_health(
            FramePlan(epoch, 2),
            "m",
            deadline_s=0.3,
            max_in_flight=4,
            manager_silent_s=manager_silent_s,
            manager_plans=manager_plans,
            queue_depth=0,
            slowdown=1.0,
            displaced=0,
        )

    never = judged(0, math.inf)
    assert never.level is Level.WARN
    assert "no plan received" in never.message
    unplanned = judged(0, math.inf, manager_plans=False)
    assert unplanned.level is Level.WARN
    assert "the manager has no plan yet" in unplanned.message
    expired = judged(0, 7.2)
    assert expired.level is Level.WARN
    assert "no heartbeat from the manager for 7 s" in expired.message
    assert judged(1, 0.5).level is Level.OK


def test_an_edge_that_is_too_slow_or_fails_says_so() -> None:
    health = EdgeHealth()
    assert health.judge(1.0, 50, {"busy": 2, "error": 0}, 1, "m").level is Level.OK
    assert health.judge(2.0, 60, {"busy": 60, "error": 0}, 1, "m").level is Level.WARN
    assert health.judge(30.0, 90, {"busy": 60, "error": 1}, 1, "m").level is Level.ERROR
    assert health.judge(60.0, 99, {"busy": 60, "error": 1}, 1, "m").level is Level.OK


def test_a_camera_is_judged_by_its_rate_once_it_runs() -> None:
    health = CameraHealth()

    def level(now_s: float, published: int, waiting: bool = False, failure: str = "") -> Level:
        return health.judge(
            now_s, published, wanted_hz=10.0, waiting=waiting, failure=failure
        ).level

    assert level(0.0, 0, waiting=True) is Level.OK
    for second in range(1, 12):
        assert level(second, 10 * second) is Level.OK
    for second in range(12, 32):
        last = level(second, 110 + 5 * (second - 11))
    assert last is Level.WARN
    for second in range(32, 45):
        last = level(second, 210)
    assert last is Level.ERROR
    assert level(50, 210, failure="unplugged") is Level.ERROR


def test_rejections_are_counted_named_bounded_and_not_all_logged() -> None:
    rejections = Rejections()
    assert rejections.health(0.0).level is Level.OK
    assert rejections.count(1.0, "plan", "no such exit")
    assert not rejections.count(1.1, "plan", "x" * 10_000)
    health = rejections.health(2.0)
    assert health.level is Level.WARN
    assert health.values["refused (plan)"] == 2
    assert len(rejections.last_reason) < 400
    assert rejections.health(30.0).level is Level.OK
    assert rejections.health(30.0).values["refused"] == 2
    assert rejections.count(2.0, "image", "no such encoding")  # another kind is news
    assert rejections.count(31.0, "plan", "no such exit")

    threads = [
        threading.Thread(target=lambda: [rejections.count(32.0, "plan", "y") for _ in range(500)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rejections.counts["plan"] == 2003


def test_a_ledger_keeps_a_bounded_number_of_reasons() -> None:
    ledger = FrameLedger()
    for number in range(500):
        ledger.end_with_drop(ledger.accept(), f"bad image: encoding {number}")
    summary = ledger.summary()
    assert summary.drops == 500 and summary.balanced
    assert len(summary.reasons) < 40


def said(ledger: FrameLedger) -> str:
    """What a fresh judge says of a ledger."""
    summary = ledger.summary()
    fallbacks = summary.places.get(Place.CAR_FALLBACK, 0)
    judged = LedgerHealth().judge(1.0, summary, fallbacks=fallbacks, deadline_s=0.3, quiet_s=0.1)
    assert judged.level is Level.WARN
    return judged.message


@pytest.mark.parametrize(
    ("kind", "reason", "advice"),
    [
        (DropKind.BAD_IMAGE, "bad image: encoding 16UC1", "set its driver"),
        (DropKind.FAILED, "could not be computed: ValueError", "the head's log"),
        (DropKind.SUPERSEDED, "superseded by a newer frame", "lower the camera's rate_hz"),
    ],
)
def test_the_advice_follows_what_drops_most(kind: DropKind, reason: str, advice: str) -> None:
    ledger = FrameLedger()
    frames(ledger, 20)
    others = [k for k in DropKind if k is not kind]
    for other in others:
        ledger.end_with_drop(ledger.accept(), f"some other reason, {other.value}", other)
    for _ in range(6):
        ledger.end_with_drop(ledger.accept(), reason, kind)
    words = said(ledger)
    assert reason in words and advice in words
    assert ("rate_hz" in words) == (kind is DropKind.SUPERSEDED)


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        (Status.WRONG_MODEL, "the edge runs another model"),
        (Status.BAD_TENSOR, "the edge refuses"),
        (Status.ERROR, "the edge's log"),
        (Status.BUSY, "the edge is too slow"),
        (None, "see the link"),
    ],
)
def test_the_advice_on_fallbacks_follows_what_the_edge_says(
    status: Status | None, advice: str
) -> None:
    ledger = FrameLedger()
    for _ in range(20):
        number = ledger.accept()
        if status is not None:
            ledger.count_rejected(status)
        ledger.end_with_result(number, Place.CAR_FALLBACK, missed=False)
    words = said(ledger)
    assert advice in words
    assert ("see the link" in words) == (status is None)
