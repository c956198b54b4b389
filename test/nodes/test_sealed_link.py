"""With a key: the whole loop over real DDS, and what forged, repeated and foreign messages do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sealed_world import sealed

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import Program, RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

CARD = read_card(find_model("roadsigns"))
EXITS = len(CARD.dag.exits)
START_S = 60.0
AT_THE_EDGE = f"exit={EXITS} boundary={CARD.dag.input} codec=f32"


def start_car(ros: RosWorld, env: dict[str, str], rate_hz: float = 10.0) -> list[Program]:
    """Head, manager and camera; every frame shall be finished at the edge."""
    return [
        ros.start("head", {"threads": 1, "deadline_s": 5.0, "ledger_period_s": 0.2}, env=env),
        ros.start(
            "manager",
            {},
            *("-p", "partition_manager:deadline_s:=5.0"),
            *("-p", f"partition_manager:pinned_plan:='{AT_THE_EDGE}'"),
            env=env,
        ),
        ros.start("camera", {"rate_hz": rate_hz, "seed": 5}, env=env),
    ]


def remote(results: list[msg.InferenceResult]) -> list[msg.InferenceResult]:
    return [r for r in results if r.place == r.PLACE_EDGE]


def test_frames_are_finished_by_the_edge_over_the_sealed_link(
    ros: RosWorld, tmp_path: Path
) -> None:
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    ledgers = ros.collect(msg.FrameLedger, "ledger", qos.LATCHED)
    loads = ros.collect(msg.NodeLoad, "edge/load", qos.STATE)
    links = ros.collect(msg.LinkQuality, "link_quality", qos.STATE)
    with sealed(tmp_path) as env:
        head, manager, camera = start_car(ros, env)
        edge = ros.start("edge", {"threads": 1}, env=env)
        load = ros.start(
            "load_monitor", {"machine": "edge"}, "-r", "__node:=edge_load_monitor", env=env
        )
        ros.spin_until(lambda: len(remote(results)) >= 10, START_S, "results from the edge")
        ros.spin_until(lambda: loads and loads[-1].slowdown > 0, START_S, "the edge's load")
        assert any(link.connected and link.rtt_s > 0 for link in links)
        assert camera.stop() == 0
        ros.spin_until(
            lambda: (
                ledgers and ledgers[-1].in_flight == 0 and ledgers[-1].results >= len(results) > 0
            )
        )
        for program in (head, manager, edge, load):
            assert program.stop() == 0, program.output()
    last = ledgers[-1]
    assert last.accepted == last.results + last.drops + last.in_flight
    assert last.in_flight == 0
