"""Three cars, an edge server and a fleet node, all real: the node is killed and comes back."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest
from diagnostic_msgs.msg import DiagnosticArray

import dapdee_ros.msg as msg
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(300)]

# How many times slower than this machine each car is emulated; the edge server is, too.
# The first two could keep up with their frames alone; together they ask for all of the edge server.
CAR_SLOWDOWN = {"car1": 80.0, "car2": 80.0, "car3": 400.0}
EDGE_SLOWDOWN = 50.0
RATE_HZ = 4.0
VALID_S = 3.0
START_S = 60.0


@pytest.mark.alone
def test_cars_go_on_whatever_becomes_of_the_fleet_node(ros: RosWorld) -> None:
    plans = {
        car: ros.collect(msg.PartitionPlan, f"/{car}/plan", qos.LATCHED) for car in CAR_SLOWDOWN
    }
    results = {
        car: ros.collect(msg.InferenceResult, f"/{car}/inference", qos.RESULT)
        for car in CAR_SLOWDOWN
    }
    ledgers = {
        car: ros.collect(msg.FrameLedger, f"/{car}/ledger", qos.LATCHED) for car in CAR_SLOWDOWN
    }
    shares: dict[str, str] = {}

    def look(report: DiagnosticArray) -> None:
        for status in report.status:
            if status.name == "/edge: edge":
                shares.update({p.key: p.value for p in status.values if p.key[:6] == "share "})

    ros.node("board").create_subscription(DiagnosticArray, "/diagnostics", look, qos.DIAGNOSTICS)
    edge = ros.start(
        "edge",
        {
            "threads": 1, "cars": list(CAR_SLOWDOWN), "emulated_slowdown": EDGE_SLOWDOWN,
            "shares": ["car1=3"],
        },
    )  # fmt: skip
    sides = []
    terms = {"deadline_s": 2.0, "gates": False, "frame_utilisation": 0.95, "mode": "latency"}
    for car, slowdown in CAR_SLOWDOWN.items():
        inside = ("-r", f"__ns:=/{car}")
        slow = {"threads": 1, "deadline_s": 2.0, "emulated_slowdown": slowdown}
        sides.append(ros.start("head", slow, *inside))
        sides.append(ros.start("manager", {**terms, "codecs": ["f32"]}, *inside))
        sides.append(ros.start("camera", {"rate_hz": RATE_HZ}, *inside))

    def who_sends() -> list[str]:
        return [car for car, told in plans.items() if told and told[-1].boundary]

    def sharing() -> bool:
        """Whether some stay away, and not the one that needs the server most."""
        return "car3" in who_sends() and len(who_sends()) < len(CAR_SLOWDOWN)

    everybody = list(CAR_SLOWDOWN)
    ros.spin_until(lambda: who_sends() == everybody, START_S, "everybody sends")
    ros.spin_until(lambda: all(len(found) > 8 for found in results.values()), START_S, "frames")
    ros.spin_until(lambda: shares and float(shares["share (car1)"]) == 3.0, 10.0, "own shares")

    together = {"cars": everybody, "valid_s": VALID_S}
    fleet = ros.start("fleet", together)
    ros.spin_until(sharing, START_S, "those who need it least stay away")
    ros.spin_for(4.0)
    assert sharing()
    ros.spin_until(lambda: float(shares["share (car1)"]) != 3.0, 10.0, "told shares")

    fleet.process.send_signal(signal.SIGKILL)
    fleet.process.wait()
    killed_s, answered = time.monotonic(), {car: len(found) for car, found in results.items()}
    ros.spin_until(lambda: who_sends() == everybody, START_S, "everybody plans alone again")
    # A car that stayed at home has only probes to tell it how quick link and server are.
    assert time.monotonic() - killed_s < VALID_S + 20.0
    ros.spin_until(lambda: float(shares["share (car1)"]) == 3.0, 10.0, "the edge's own shares")
    ros.spin_for(3.0)
    assert all(len(results[car]) > n + 2 for car, n in answered.items())

    fleet = ros.start("fleet", together)
    ros.spin_until(sharing, START_S, "the node is back")
    assert fleet.stop() == 0
    for side in reversed(sides):
        side.stop(with_signal=signal.SIGINT)
    for car, told in ledgers.items():
        last = told[-1]
        assert last.accepted == last.results + last.drops + last.in_flight, car
    assert edge.stop(with_signal=signal.SIGINT) == 0
