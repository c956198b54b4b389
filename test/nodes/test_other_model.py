"""Car and edge with different models: everybody who could be asked says so, and which ones."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from test_missing import Board

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

START_S = 60.0
ERROR = 2
OURS, OTHER = "roadsigns", "vgg16-cifar10"


def named(model: str) -> str:
    return f"{model} ({read_card(find_model(model)).model_id[:12]})"


def test_an_edge_with_another_model_is_named(ros: RosWorld) -> None:
    board = Board(ros)
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    ros.start("head", {"threads": 1, "deadline_s": 1.0})
    ros.start("edge", {"threads": 1, "model": OTHER})
    manager = ros.start("manager")
    ros.start("camera", {"rate_hz": 5.0})
    plan = "/partition_manager: plan"
    ros.spin_until(partial(board.at, ERROR, plan), START_S, "the manager's complaint")
    ros.spin_until(lambda: results, START_S, "a result")
    said = board.statuses[plan].message
    assert f"the edge runs {named(OTHER)}" in said
    assert f"this manager plans for {named(OURS)}" in said
    assert "start car and edge with the same model" in said
    assert said in manager.output()
    assert "dapdee profile" not in manager.output()  # measuring anew does not help
    # The head does not send one to look for a manager that is there.
    ros.spin_until(
        lambda: "the manager has no plan yet" in board.statuses["/head: head"].message, START_S
    )


def test_an_edge_that_comes_back_with_another_model_is_named(ros: RosWorld) -> None:
    board = Board(ros)
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    ros.start("head", {"threads": 1, "deadline_s": 2.0})
    edge = ros.start("edge", {"threads": 1})
    every_frame = "partition_manager:pinned_plan:=exit=5 boundary=image codec=f32"
    ros.start("manager", {}, "-p", every_frame, "-p", "partition_manager:deadline_s:=2.0")
    ros.start("camera", {"rate_hz": 5.0})
    ros.spin_until(lambda: any(r.place == r.PLACE_EDGE for r in results), START_S, "the edge")
    edge.kill()
    ros.start("edge", {"threads": 1, "model": OTHER})
    plan, ledger = "/partition_manager: plan", "/head: ledger"
    ros.spin_until(partial(board.at, ERROR, plan), START_S, "the manager's complaint")
    assert f"the edge runs {named(OTHER)}" in board.statuses[plan].message
    ros.spin_until(
        lambda: "the edge runs another model" in board.statuses[ledger].message, START_S, ledger
    )
    refused = board.statuses["/head: refused"].message
    assert OTHER in refused and "wrong_model" in refused
