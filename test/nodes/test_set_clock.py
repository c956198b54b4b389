"""Setting the system clock while the car drives: nothing but the stamps in headers may notice."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from support.stepped_clock import SteppedClock, what_is_missing

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [
    pytest.mark.ros,
    pytest.mark.timeout(240),
    pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing()),
]

START_S = 60.0
WATCHED_S = 4.0
RATE_HZ = 10.0
STEP_S = 600.0
NODES = ("camera", "head", "edge", "partition_manager", "viewer", "run_recorder", "link_emulator")


def test_a_clock_that_is_set_stops_nothing(ros: RosWorld, tmp_path: Path) -> None:
    clock = SteppedClock(tmp_path)
    ros.env.update(clock.environment)
    results = ros.collect(msg.InferenceResult, "inference", qos.RESULT)
    heard = {
        "ledgers of the head": ros.collect(msg.FrameLedger, "ledger", qos.LATCHED),
        "link quality of the manager": ros.collect(msg.LinkQuality, "link_quality", qos.STATE),
        "load of the car": ros.collect(msg.NodeLoad, "car/load", qos.STATE),
        "load of the edge": ros.collect(msg.NodeLoad, "edge/load", qos.STATE),
        "truth of the link emulator": ros.collect(msg.LinkQuality, "link_truth", qos.STATE),
    }
    reports = ros.collect(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
    relayed = ("head_tensor", "edge_result", "probe", "probe_echo")
    far = [word for name in relayed for word in ("-r", f"{name}:=emulated/{name}")]
    ros.start("head", {"threads": 1, "deadline_s": 1.0, "emulated_slowdown": 20.0})
    ros.start("edge", {"threads": 1}, *far)
    ros.start("load_monitor", {"machine": "edge"}, *far, "-r", "__node:=edge_load_monitor")
    ros.start("manager", {}, "-p", "partition_manager:deadline_s:=1.0")
    ros.start("link_emulator", {"link": "20mbit", "delay_s": 0.002})
    ros.start("viewer", {"http_port": 0})
    recorder = ros.start("run_recorder", {"path": str(tmp_path / "run.json"), "print_status": True})
    ros.start("camera", {"rate_hz": RATE_HZ})
    ros.spin_until(
        lambda: sum(r.place == r.PLACE_EDGE for r in results) >= 20, START_S, "answers of the edge"
    )
    for offset_s in (-STEP_S, STEP_S, 0.0):
        clock.set(offset_s)
        ros.spin_for(0.5)  # what was under way
        before = {name: len(messages) for name, messages in heard.items()}
        first, reported, printed = len(results), len(reports), recorder.output().count("\n")
        ros.spin_for(WATCHED_S)
        new = results[first:]
        assert len(new) >= 0.7 * RATE_HZ * WATCHED_S, f"clock set to {offset_s:+g} s"
        assert sum(r.place == r.PLACE_EDGE for r in new) > 0.5 * len(new)
        # Stamps are the system clock's, whatever it says.
        ahead_s = new[-1].header.stamp.sec - time.time()
        assert ahead_s == pytest.approx(offset_s, abs=5.0)
        # What was measured is not.
        assert all(0 <= r.transfer_s < 1.0 for r in new if r.place == r.PLACE_EDGE)
        assert all(0 <= r.latency_s < 1.5 for r in new)
        links = heard["link quality of the manager"][before["link quality of the manager"] :]
        assert all(link.connected and 0 < link.rtt_s < 0.5 for link in links)
        for name, messages in heard.items():
            assert len(messages) > before[name], f"{name}: none, clock set to {offset_s:+g} s"
        assert recorder.output().count("\n") >= printed + 0.5 * WATCHED_S
        said = {
            status.name.split(":")[0][1:]
            for report in reports[reported:]
            for status in report.status
        }
        assert set(NODES) <= said
