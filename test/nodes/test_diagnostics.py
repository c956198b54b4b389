"""What the nodes say of themselves over DDS when all is well, and when it is not."""

from __future__ import annotations

import math
import platform
from array import array
from typing import TYPE_CHECKING

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

import dapdee_ros.msg as msg
from dapdee_ros.estimation.car_health import MachineLoad, machine_health
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

CARD = read_card(find_model("roadsigns"))
START_S = 60.0
OK, WARN, ERROR, STALE = (bytes([level]) for level in range(4))


class Board:
    """The latest status of every task, by its name."""

    def __init__(self, ros: RosWorld) -> None:
        self.statuses: dict[str, DiagnosticStatus] = {}
        self.heard: dict[str, int] = {}
        self._ros = ros
        ros.node("board").create_subscription(
            DiagnosticArray, "/diagnostics", self._take, qos.DIAGNOSTICS
        )

    def _take(self, array: DiagnosticArray) -> None:
        for status in array.status:
            self.statuses[status.name] = status
            self.heard[status.name] = self.heard.get(status.name, 0) + 1

    def until(self, name: str, level: bytes, words: str = "") -> DiagnosticStatus:
        """Wait until a task is at a level, with these words in its message."""

        def there() -> DiagnosticStatus | None:
            status = self.statuses.get(name)
            fits = status is not None and status.level == level and words in status.message
            return status if fits else None

        return self._ros.spin_until(there, START_S, f"{name} at level {level!r} ({words})")

    def measured(self, name: str) -> DiagnosticStatus | None:
        """A task's status once it knows something."""
        status = self.statuses.get(name)
        return status if status is not None and status.level != STALE else None

    def value(self, name: str, key: str) -> str:
        return {pair.key: pair.value for pair in self.statuses[name].values}[key]


def test_a_stopped_edge_makes_the_link_warn_and_the_ledger_stays_well(ros: RosWorld) -> None:
    board = Board(ros)
    ros.start("head", {"threads": 1, "deadline_s": 1.0})
    edge = ros.start("edge", {"threads": 1})
    ros.start("manager", {}, "-p", "partition_manager:deadline_s:=1.0")
    camera = ros.start("camera", {"rate_hz": 10.0})
    link, ledger, camera_task = "/link_monitor: link", "/head: ledger", "/camera: camera"
    board.until(link, OK)
    board.until(ledger, OK, "answered")
    board.until("/partition_manager: plan", OK, "plan")
    board.until("/head: head", OK, "plan")
    assert board.until(camera_task, OK).hardware_id == platform.node()
    assert board.value(camera_task, "wanted_hz") == "10"
    for task in ("/edge: edge", "/edge: refused"):
        board.until(task, OK)
    # Other programs may fill this machine, or heat it: it is well if its own figures say so.
    machine = "/load_monitor: machine"
    status = ros.spin_until(lambda: board.measured(machine), START_S, "a measured machine")
    figures = {pair.key: float(pair.value) for pair in status.values}
    verdict = machine_health(
        MachineLoad(**{**figures, "queue_depth": int(figures["queue_depth"])})  # type: ignore[arg-type]
    )
    assert status.level == bytes([verdict.level])
    assert status.message
    assert board.value("/edge: edge", "model").startswith("roadsigns")
    assert float(board.value("/partition_manager: process", "memory_bytes")) > 1e6
    assert "/partition_manager: gate" in board.statuses
    assert float(board.value("/head: ledger", "accepted")) > 0

    assert edge.stop() == 0
    assert "edge" in board.until(link, WARN, "not connected").message
    assert board.value(link, "connected") == "False"
    # The car finishes alone: that is no fault of the head's.
    board.until("/partition_manager: plan", OK, "all on the car")
    assert board.statuses[ledger].level in (OK, WARN)
    assert camera.stop() == 0
    board.until(ledger, STALE, "image_raw")


def test_an_edge_counts_what_it_refuses_and_cannot_read(ros: RosWorld) -> None:
    board = Board(ros)
    answers = ros.collect(msg.InferenceResult, "edge_result", qos.tensor_qos(True, 10))
    ros.start("edge", {"threads": 1})
    node = ros.node("sends")
    publisher = node.create_publisher(msg.HeadTensor, "head_tensor", qos.tensor_qos(True, 4))
    board.until("/edge: edge", OK)
    board.until("/edge: refused", OK, "0 refused")
    publisher.publish(msg.HeadTensor(frame_number=1, model_id="another", exit=1, codec="f32"))
    ros.spin_until(lambda: answers)
    publisher.publish(msg.HeadTensor(frame_number=2, model_id=CARD.model_id, exit=1, codec="f32"))
    ros.spin_until(lambda: len(answers) == 2)
    assert [a.status for a in answers] == [
        msg.InferenceResult.STATUS_WRONG_MODEL,
        msg.InferenceResult.STATUS_BAD_TENSOR,
    ]
    assert all(a.detail for a in answers)
    publisher.publish(b"\0\1\0\0" + b"\xff" * 60)
    refused = "/edge: refused"
    board.until(refused, WARN, "3 refused")
    assert board.value(refused, "refused (unreadable message)") == "1"
    assert board.value(refused, "refused (frame (wrong_model))") == "1"
    assert "HeadTensor" in board.value(refused, "last reason")


def test_a_head_counts_torn_plans_and_answers_that_make_no_sense(ros: RosWorld) -> None:
    exits = len(CARD.dag.exits)
    board = Board(ros)
    frames = ros.collect(msg.HeadTensor, "head_tensor", qos.tensor_qos(True, 10))
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    head = ros.start("head", {"threads": 1, "plan_timeout_s": 600.0})
    board.until("/head: head", WARN, "no plan")
    node = ros.node("plans")
    plans = node.create_publisher(msg.PartitionPlan, "plan", qos.LATCHED)
    ros.spin_until(plans.get_subscription_count, START_S)

    def plan(**changes: object) -> msg.PartitionPlan:
        good: dict[str, object] = {
            "epoch": 7,
            "model_id": CARD.model_id,
            "exit": exits,
            "boundary": [CARD.dag.input],
            "codec": "f32",
            "deadline_s": 2.0,
            "max_in_flight": 4,
        }
        return msg.PartitionPlan(**{**good, **changes})

    def until_counted(number: str) -> None:
        ros.spin_until(lambda: board.value("/head: refused", "refused") == number, START_S)

    torn = [
        plan(model_id="another"),
        plan(exit=99),
        plan(boundary=["no such node"]),
        plan(epoch=0),
        *(plan(deadline_s=s) for s in (0.0, -1.0, 1e9, math.nan, math.inf)),
        *(plan(max_in_flight=frames) for frames in (0, 17)),
    ]
    for number, message in enumerate([*torn, b"\0\1\0\0" + b"\xff" * 40], 1):
        plans.publish(message)
        until_counted(str(number))
        assert board.statuses["/head: refused"].level == WARN
    assert board.value("/head: refused", "refused (plan)") == str(len(torn))
    assert board.value("/head: head", "plan_epoch") == "0"
    plans.publish(plan())
    board.until("/head: head", OK, "plan 7")

    # An edge that names a class the model does not have: the car finishes the frame itself.
    answers = node.create_publisher(msg.InferenceResult, "edge_result", qos.tensor_qos(True, 10))
    ros.start("camera", {"rate_hz": 2.0})
    ros.spin_until(lambda: frames, START_S, "a frame for the edge")
    ros.spin_until(answers.get_subscription_count)
    frames.clear()
    ros.spin_until(lambda: frames, START_S, "another frame")
    nonsense = msg.InferenceResult(
        frame_number=frames[-1].frame_number,
        session=frames[-1].session,
        class_id=9999,
        score=0.9,
        top_classes=array("i", [9999]),
        top_scores=array("f", [0.9]),
        exit=exits,
        tail_s=math.nan,
    )
    answers.publish(nonsense)
    ros.spin_until(
        lambda: any(r.frame_number == nonsense.frame_number for r in results), START_S, "a result"
    )
    (result,) = (r for r in results if r.frame_number == nonsense.frame_number)
    assert result.place == result.PLACE_CAR_FALLBACK
    assert "makes no sense" in result.detail
    assert head.process.poll() is None


def test_everyone_reports_once_a_second(ros: RosWorld) -> None:
    board = Board(ros)
    ros.start("link_emulator", {"link": "3g"})
    ros.start("viewer", {"http_port": 0})
    ros.start("run_recorder", {"path": "/dev/null"})
    ros.start("load_monitor", {"machine": "edge"}, "-r", "__node:=edge_load_monitor")
    ros.start("partition_manager", {})
    board.until("/link_emulator: emulated link", OK, "1.10 Mbit/s")
    board.until("/viewer: picture", OK)
    board.until("/run_recorder: log", STALE, "no result")
    board.until("/partition_manager: plan", WARN, "profile of car and edge")
    board.until("/partition_manager: load", STALE)
    monitor = "/edge_load_monitor: machine"
    ros.spin_until(lambda: monitor in board.statuses, START_S, monitor)
    before = dict(board.heard)
    ros.spin_for(3.0)
    for name, count in before.items():
        assert 2 <= board.heard[name] - count <= 4, name
