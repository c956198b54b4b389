"""A head whose manager has died, or hangs, drives alone; over real DDS."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

CARD = read_card(find_model("roadsigns"))
START_S = 60.0
TIMEOUT_S = 3.0


def test_without_a_manager_the_car_is_soon_alone_and_with_one_it_is_not(ros: RosWorld) -> None:
    exits = len(CARD.dag.exits)
    pinned = {
        "pinned_plan": f"exit={exits} boundary={CARD.dag.input} codec=f32",
        "deadline_s": 1.0,
    }
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    ledgers = ros.collect(msg.FrameLedger, "ledger", qos.LATCHED)
    head = ros.start("head", {"threads": 1, "plan_timeout_s": TIMEOUT_S, "ledger_period_s": 0.2})
    ros.start("edge", {"threads": 1})
    manager = ros.start("partition_manager", pinned)
    ros.meet(ledgers)
    camera = ros.start("camera", {"rate_hz": 10.0})

    def sent() -> bool:
        return bool(results) and results[-1].plan_epoch > 0 and results[-1].sent_bytes > 0

    def alone() -> bool:
        return bool(results) and results[-1].plan_epoch == 0 and not results[-1].sent_bytes

    def seconds_until_alone() -> float:
        started_s = time.monotonic()
        ros.spin_until(alone, TIMEOUT_S + 10, "the car works alone")
        return time.monotonic() - started_s

    ros.spin_until(sent, START_S, "frames go to the edge")
    # A manager that lives is heard, however long it has nothing to say.
    ros.spin_for(TIMEOUT_S + 1)
    assert sent()

    manager.process.send_signal(signal.SIGSTOP)
    assert seconds_until_alone() < TIMEOUT_S + 1
    manager.process.send_signal(signal.SIGCONT)
    ros.spin_until(sent, START_S, "the plan holds again")

    manager.kill()
    assert seconds_until_alone() < TIMEOUT_S + 1
    assert "its plan has expired" in head.output()
    ros.start("partition_manager", pinned)
    ros.spin_until(sent, START_S, "frames go to the edge under a new manager")

    camera.stop()
    ros.spin_until(lambda: ledgers and ledgers[-1].in_flight == 0, START_S, "all frames ended")
    ros.spin_until(lambda: len(results) == ledgers[-1].results)
    assert len({r.frame_number for r in results}) == len(results)
    last = ledgers[-1]
    assert last.accepted == last.results + last.drops
    # Results went on all the while.
    assert last.drops < 0.05 * last.accepted
