"""Head and edge compute with ONNX Runtime, and each with an engine of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.graph.cuts import cuts
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from pathlib import Path

    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

START_S = 60.0
WANTED = 20


@pytest.mark.parametrize(
    ("head_engine", "edge_engine"), [("onnxruntime", "onnxruntime"), ("onnxruntime", "torch")]
)
def test_frames_are_split_between_engines(
    ros: RosWorld, head_engine: str, edge_engine: str
) -> None:
    card = read_card(find_model("roadsigns"))
    exits = len(card.dag.exits)
    inner = [cut.boundary for cut in cuts(card.dag, exits) if len(cut.nodes) > 10 and cut.boundary]
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    truths = ros.collect(msg.SceneTruth, "truth", qos.RESULT)
    profiles = ros.collect(msg.DeviceProfile, "car/profile", qos.LATCHED)
    links = ros.collect(msg.LinkQuality, "link_quality", qos.STATE)
    plan = f"exit={exits} boundary={','.join(inner[0])} codec=f32"
    ros.start(
        "manager",
        {},
        "-p",
        "partition_manager:deadline_s:=2.0",
        "-p",
        f"partition_manager:pinned_plan:='{plan}'",
    )
    ros.meet(links)
    ros.start("head", {"threads": 1, "deadline_s": 2.0, "engine": head_engine})
    ros.start("edge", {"threads": 1, "engine": edge_engine})
    ros.meet(profiles)
    ros.start("camera", {"rate_hz": 10.0, "seed": 5})

    def judged() -> list[bool]:
        truth = {(t.header.stamp.sec, t.header.stamp.nanosec): t.class_id for t in truths}
        stamps = [(r.header.stamp.sec, r.header.stamp.nanosec) for r in results]
        return [
            result.class_id == truth[stamp]
            for result, stamp in zip(results, stamps, strict=True)
            if result.place == result.PLACE_EDGE and stamp in truth
        ]

    ros.spin_until(lambda: len(judged()) >= WANTED, START_S, "answers of the edge")
    assert sum(judged()) >= 0.85 * len(judged())
    (profile,) = {tuple(profile.node_names): profile for profile in profiles}.values()
    assert list(profile.node_names) == [node.name for node in card.dag.nodes]
    assert sum(profile.node_seconds) > 0


def test_an_execution_provider_that_the_wheel_lacks_is_named(ros: RosWorld, tmp_path: Path) -> None:
    head = ros.start("head", {"engine": "onnxruntime", "execution_provider": "tensorrt"})
    assert head.wait(START_S) == 1
    assert "no execution provider 'tensorrt'" in head.output()
    assert "onnxruntime-gpu" in head.output()
