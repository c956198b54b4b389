"""The whole loop over real DDS: camera, head, edge and manager as processes of their own."""

from __future__ import annotations

import itertools
import math
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

CARD = read_card(find_model("roadsigns"))
START_S = 60.0


def pinned(exit_number: int, *boundary: str) -> str:
    return f"exit={exit_number} boundary={','.join(boundary)} codec=f32"


def set_parameter(ros: RosWorld, node: str, name: str, text: str) -> None:
    client = ros.node(f"set_{time.monotonic_ns()}").create_client(
        SetParameters, f"/{node}/set_parameters"
    )
    ros.spin_until(client.service_is_ready, START_S)
    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=text)
    request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
    (result,) = ros.call(client, request).results
    assert result.successful, result.reason


def balanced(ledger: msg.FrameLedger) -> bool:
    return ledger.accepted == ledger.results + ledger.drops + ledger.in_flight


def test_camera_to_inference_with_the_plan_changing_on_the_way(ros: RosWorld) -> None:
    exits = len(CARD.dag.exits)
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    truths = ros.collect(msg.SceneTruth, "truth", qos.RESULT)
    plans = ros.collect(msg.PartitionPlan, "plan", qos.LATCHED)
    links = ros.collect(msg.LinkQuality, "link_quality", qos.STATE)
    ledgers = ros.collect(msg.FrameLedger, "ledger", qos.LATCHED)
    # A deadline that nothing here misses: what is shown is the way of the frames.
    manager = ros.start(
        "manager",
        {},
        "-p",
        "partition_manager:deadline_s:=5.0",
        "-p",
        f"partition_manager:pinned_plan:='{pinned(exits, CARD.dag.input)}'",
    )
    ros.meet(links)
    head = ros.start("head", {"threads": 1, "deadline_s": 5.0, "ledger_period_s": 0.2})
    edge = ros.start("edge", {"threads": 1})
    ros.meet(ledgers)
    camera = ros.start("camera", {"rate_hz": 10.0, "seed": 5})

    def under(exit_number: int, *boundary: str) -> list[msg.InferenceResult]:
        """Results of frames begun under a plan; it is told again when the link is known."""
        epochs = {p.epoch for p in plans if (p.exit, p.boundary) == (exit_number, [*boundary])}
        return [r for r in results if r.plan_epoch in epochs]

    ros.spin_until(
        lambda: sum(r.place == r.PLACE_EDGE for r in under(exits, CARD.dag.input)) >= 10,
        START_S,
        "ten results from the edge",
    )
    assert any(link.connected and link.rtt_s > 0 for link in links)
    shallow = CARD.dag.exit_part(1)
    inside = [n.name for n in CARD.dag.nodes if n.name in shallow][3]
    set_parameter(ros, "partition_manager", "pinned_plan", pinned(1, inside))
    ros.spin_until(lambda: len(under(1, inside)) >= 10, START_S, "results of the new plan")
    set_parameter(ros, "partition_manager", "pinned_plan", f"exit={exits}")
    ros.spin_until(lambda: len(under(exits)) >= 5, START_S, "results of the third plan")

    assert [plan.epoch for plan in plans] == list(range(1, len(plans) + 1))
    ways = [key for key, _ in itertools.groupby((p.exit, *p.boundary) for p in plans)]
    assert ways == [(exits, CARD.dag.input), (1, inside), (exits,)]
    remote = [r for r in under(exits, CARD.dag.input) if r.place == r.PLACE_EDGE]
    for result in remote:
        assert (result.exit, result.boundary, result.codec) == (exits, [CARD.dag.input], "f32")
        height, width = CARD.input_size
        assert result.sent_bytes == 3 * height * width
        assert result.transfer_s > 0
        assert result.tail_s > 0
        parts = result.head_s + result.transfer_s + result.residence_s
        assert parts <= result.latency_s
    # On a busy machine the car may step in for a frame; all others go as planned.
    assert {r.exit for r in under(1, inside)} == {1}
    assert sum(r.place == r.PLACE_EDGE for r in under(1, inside)) >= 5
    assert {(r.exit, r.place) for r in under(exits)} == {(exits, msg.InferenceResult.PLACE_CAR)}
    for result in results:
        assert result.label == CARD.labels[result.class_id]
        assert math.isclose(result.score, result.top_scores[0], rel_tol=1e-6)
    truth = {(t.header.stamp.sec, t.header.stamp.nanosec): t.label for t in truths}
    deep = [r for r in under(exits, CARD.dag.input) + under(exits) if _stamp(r) in truth]
    right = sum(truth[_stamp(r)] == r.label for r in deep)
    assert right >= 0.8 * len(deep)

    # No frame is lost at a change: the frames of all epochs are numbered without a gap, but for
    # those that a newer one displaced.
    ros.spin_until(lambda: ledgers and ledgers[-1].accepted >= results[-1].frame_number)
    assert all(balanced(ledger) for ledger in ledgers)
    camera.stop()
    ros.spin_until(lambda: ledgers and ledgers[-1].in_flight == 0, START_S, "all frames ended")
    numbers = [r.frame_number for r in results]
    assert len(set(numbers)) == len(numbers)
    last = ledgers[-1]
    ros.spin_until(lambda: len(results) == last.results, what="as many results as the ledger says")
    assert set(last.drop_reasons) <= {"superseded by a newer frame"}
    for program in (manager, edge, head):
        assert program.stop() == 0, program.output()
    # Frames that pile up before the edge displace each other, and both sides count that alike.
    assert f"frames answered, {last.rejected} refused" in edge.output()


def test_a_killed_edge_costs_no_frame(ros: RosWorld) -> None:
    exits = len(CARD.dag.exits)
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    ledgers = ros.collect(msg.FrameLedger, "ledger", qos.LATCHED)
    ros.start("head", {"threads": 1, "deadline_s": 1.0, "ledger_period_s": 0.2})
    edge = ros.start("edge", {"threads": 1})
    ros.start(
        "partition_manager", {"pinned_plan": pinned(exits, CARD.dag.input), "deadline_s": 1.0}
    )
    ros.start("link_monitor")
    ros.meet(ledgers)
    camera = ros.start("camera", {"rate_hz": 10.0})
    place = msg.InferenceResult
    ros.spin_until(
        lambda: any(r.place == place.PLACE_EDGE for r in results), START_S, "the edge answers"
    )
    edge.process.send_signal(signal.SIGKILL)
    killed_at = results[-1].frame_number
    ros.spin_until(
        lambda: sum(r.place == place.PLACE_CAR_FALLBACK for r in results) >= 5,
        START_S,
        "the car finishes alone",
    )
    ros.start("edge", {"threads": 1})
    ros.spin_until(
        lambda: any(
            r.place == place.PLACE_EDGE and r.frame_number > killed_at + 5 for r in results
        ),
        START_S,
        "the new edge answers",
    )
    camera.stop()
    ros.spin_until(lambda: ledgers and ledgers[-1].in_flight == 0, START_S, "all frames ended")
    ros.spin_until(lambda: len(results) == ledgers[-1].results)
    assert all(balanced(ledger) for ledger in ledgers)
    assert len({r.frame_number for r in results}) == len(results)
    assert set(ledgers[-1].drop_reasons) <= {"superseded by a newer frame"}


@pytest.mark.parametrize("executable", ["head", "edge"])
def test_a_torn_model_folder_fails_configure_with_the_reason(
    ros: RosWorld, tmp_path: Path, executable: str
) -> None:
    folder = tmp_path / "torn"
    folder.mkdir()
    for file in CARD.path.iterdir():
        content = file.read_bytes()
        if file.suffix == ".onnx":
            content = content[: len(content) // 2]
        (folder / file.name).write_bytes(content)
    program = ros.start(executable, {"model": str(folder)})
    assert program.wait(START_S) == 1
    assert "model.onnx" in program.output()

    # Without autostart the process stays, to be mended and told again.
    waiting = ros.start(executable, {"model": str(folder), "autostart": False})
    client = ros.node("ask").create_client(GetState, f"/{executable}/get_state")
    ros.spin_until(client.service_is_ready, START_S)
    assert ros.call(client, GetState.Request()).current_state.id == State.PRIMARY_STATE_UNCONFIGURED
    assert waiting.stop() == 0


def test_an_unknown_model_is_named_with_what_there_is(ros: RosWorld) -> None:
    program = ros.start("partition_manager", {"model": "no-such-model"})
    assert program.wait(START_S) == 2
    assert "no-such-model" in program.output()
    assert "roadsigns" in program.output()


def _stamp(result: msg.InferenceResult) -> tuple[int, int]:
    return result.header.stamp.sec, result.header.stamp.nanosec
