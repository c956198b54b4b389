"""The fleet node over DDS: prices come, plans change, it dies and returns; what is refused."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from array import array
from typing import TYPE_CHECKING, Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray

import dapdee_ros.msg as msg
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.nodes import qos

if TYPE_CHECKING:
    from ros_world import Program, RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(240)]

CARD = read_card(find_model("roadsigns"))
# Seconds of the whole network on each car, of which the first two could keep up alone.
CAR_S = {"car1": 0.2, "car2": 0.2, "car3": 0.6}
EDGE_S = 0.12
RATE_HZ = 7.0
VALID_S = 2.0
START_S = 60.0
PLANS = {"deadline_s": 2.0, "min_dwell_s": 0.0, "gates": False, "frame_utilisation": 0.9,
         "mode": "latency"}  # fmt: skip


class Car:
    """A car's real manager, and all that it listens to but the fleet node."""

    def __init__(self, ros: RosWorld, name: str, **parameters: object) -> None:
        self.ros, self.name = ros, name
        given = {**PLANS, "codecs": ["f32", "u8"], **parameters}
        self.program = ros.start("partition_manager", given, "-r", f"__ns:=/{name}")
        self.plans: list[msg.PartitionPlan] = ros.collect(
            msg.PartitionPlan, f"/{name}/plan", qos.LATCHED
        )
        self.demands: list[msg.FleetDemand] = ros.collect(
            msg.FleetDemand, f"/{name}/fleet_demand", qos.STATE
        )
        node = ros.node(f"told_{name}")
        self.links = node.create_publisher(msg.LinkQuality, f"/{name}/link_quality", qos.STATE)
        self.ledgers = node.create_publisher(msg.FrameLedger, f"/{name}/ledger", qos.LATCHED)
        self.prices = node.create_publisher(msg.FleetPrice, f"/{name}/fleet_price", qos.LATCHED)
        self._profiles = {
            side: node.create_publisher(msg.DeviceProfile, f"/{name}/{side}/profile", qos.LATCHED)
            for side in ("car", "edge")
        }
        self._began_s = time.monotonic()

    def begin(self, car_s: float) -> None:
        """Tell it of its machines, its link and its frames."""
        self.ros.spin_until(
            lambda: self.links.get_subscription_count() and self.ledgers.get_subscription_count(),
            START_S,
            self.name,
        )
        names = [node.name for node in CARD.dag.nodes]
        for side, seconds in (("car", car_s), ("edge", EDGE_S)):
            each = seconds / (len(names) - 1)
            self._profiles[side].publish(
                msg.DeviceProfile(
                    model_id=CARD.model_id,
                    device=side,
                    threads=1,
                    node_names=names,
                    node_seconds=array("d", [0.0] + [each] * (len(names) - 1)),
                    created="2026-01-01T00:00:00",
                )
            )
        self.links.publish(
            msg.LinkQuality(uplink_bps=1e8, rtt_s=0.005, connected=True, measurements=1)
        )
        self.ros.node(f"frames_{self.name}").create_timer(1.0, self._count)

    def _count(self) -> None:
        accepted = int(RATE_HZ * (time.monotonic() - self._began_s))
        self.ledgers.publish(msg.FrameLedger(session=1, accepted=accepted, results=accepted))

    @property
    def sends(self) -> bool:
        """Whether its plan leaves anything to the edge server."""
        return bool(self.plans) and bool(self.plans[-1].boundary)


def begin_fleet(ros: RosWorld) -> Program:
    return ros.start("fleet", {"cars": list(CAR_S), "valid_s": VALID_S})


def who_sends(cars: dict[str, Car]) -> dict[str, bool]:
    return {name: car.sends for name, car in cars.items()}


def test_prices_change_plans_and_cars_plan_alone_without_them(ros: RosWorld) -> None:
    shares: list[msg.FleetShares] = ros.collect(msg.FleetShares, "edge/shares", qos.LATCHED)
    cars = {name: Car(ros, name) for name in CAR_S}
    for name, car in cars.items():
        car.begin(CAR_S[name])
    everybody = dict.fromkeys(CAR_S, True)
    ros.spin_until(lambda: who_sends(cars) == everybody, START_S, "everybody sends")
    assert not any(car.demands for car in cars.values())

    # Of three that always have a frame there, the one sends that is slowest itself.
    joint = {"car1": False, "car2": False, "car3": True}
    fleet = begin_fleet(ros)
    ros.spin_until(lambda: who_sends(cars) == joint, START_S, "a joint choice")
    ros.spin_for(3.0)
    assert who_sends(cars) == joint
    asked = cars["car3"].demands[-1]
    assert list(asked.servers) == ["edge"] and asked.car_id == "car3"
    tail_s = cars["car3"].plans[-1].predicted_site_s[1]
    assert asked.edge_pull[0] == pytest.approx(math.sqrt(tail_s), rel=0.01)
    assert asked.edge_load == pytest.approx(RATE_HZ * tail_s, rel=0.2)
    assert asked.edge_gain_s > tail_s
    assert (list(shares[-1].cars), list(shares[-1].shares)) == (["car3"], [1.0])

    fleet.process.send_signal(signal.SIGKILL)
    fleet.process.wait()
    killed_s = time.monotonic()
    ros.spin_until(lambda: who_sends(cars) == everybody, START_S, "everybody plans alone again")
    assert time.monotonic() - killed_s < VALID_S + 1.5
    ros.spin_for(1.5)
    counts = {name: len(car.demands) for name, car in cars.items()}
    ros.spin_for(1.5)
    assert counts == {name: len(car.demands) for name, car in cars.items()}

    fleet = begin_fleet(ros)
    ros.spin_until(lambda: who_sends(cars) == joint, START_S, "a joint choice once more")
    assert fleet.stop() == 0, fleet.output()
    for car in cars.values():
        assert "Traceback" not in car.program.output()


def refused_by(ros: RosWorld, node: str) -> dict[str, str]:
    """A dictionary that follows what a node says that it refused."""
    values: dict[str, str] = {}

    def take(report: DiagnosticArray) -> None:
        for status in report.status:
            if status.name == f"{node}: refused":
                values.update({pair.key: pair.value for pair in status.values})

    ros.node("board").create_subscription(DiagnosticArray, "/diagnostics", take, qos.DIAGNOSTICS)
    return values


def price(
    load: float = 0.0, pull: float = 0.0, work: float = 0.0, least: float = 1.0, **changes: Any
) -> Any:
    values: dict[str, Any] = {
        "car_id": "car1", "epoch": 5, "number": 1, "valid_s": 30.0, "servers": ["edge"],
        "edge_load": array("d", [load]), "edge_pull": array("d", [pull]),
        "edge_work": array("d", [work]), "edge_least": array("d", [least]),
    }  # fmt: skip
    return msg.FleetPrice(**(values | changes))


DEAR = (0.9, 3.0, 1.0)
TWO = array("d", [0.0, 0.0])
TWICE = price(
    servers=["edge"] * 2, edge_load=TWO, edge_pull=TWO, edge_work=TWO, edge_least=TWO
)  # fmt: skip
HOSTILE = [
    price(math.nan, 0.1), price(0.5, -1.0), price(0.5, 1e30), price(0.5, 0.5, 0.1, math.nan),
    price(0.5, 0.5, 1e6), price(edge_pull=TWO), TWICE, price(*DEAR, servers=["elsewhere"]),
    price(*DEAR, valid_s=math.inf), price(air_pull=math.nan), price(*DEAR, epoch=4, number=7),
    price(*DEAR, car_id="car2"),
]  # fmt: skip
"""What each is refused for, test/core/test_fleet_prices.py has."""


def test_hostile_prices_change_no_plan_and_are_reported(ros: RosWorld) -> None:
    refused = refused_by(ros, "/car1/partition_manager")
    car = Car(ros, "car1")
    car.begin(CAR_S["car1"])
    ros.spin_until(lambda: car.sends, START_S, "a plan")
    car.prices.publish(price())
    ros.spin_until(lambda: car.demands, START_S, "the good price is heeded")
    told = len(car.plans)
    for message in HOSTILE:
        car.prices.publish(message)
        ros.spin_for(0.1)  # only the newest waits to be read
    expected = str(len(HOSTILE))
    ros.spin_until(lambda: refused.get("refused") == expected, 10.0, f"all refused: {refused}")
    assert "it names the car 'car2'" in refused["last reason"]
    assert len(car.plans) == told and car.sends
    # What is no such message, but dear, brings the car home.
    car.prices.publish(price(*DEAR, number=2))
    ros.spin_until(lambda: not car.sends, 10.0, "a dear price")


def test_a_fleet_node_says_what_is_wrong_with_its_parameters(ros: RosWorld) -> None:
    fleet = ros.start("fleet", {"cars": ["car1", "car1"]})
    assert fleet.wait(30.0) == 2
    assert "is listed twice" in fleet.output()
    fleet = ros.start("fleet", {"cars": ["car1"], "turn_s": 0.0})
    assert fleet.wait(30.0) == 2
    assert "turn_s" in fleet.output()


def test_the_command_runs_the_node(ros: RosWorld) -> None:
    prices: list[msg.FleetPrice] = ros.collect(msg.FleetPrice, "/car1/fleet_price", qos.LATCHED)
    command = [sys.executable, "-m", "dapdee_ros.cli.main", "fleet", "run", "--cars", "car1"]
    with subprocess.Popen([*command, "--seconds", "6"], env=ros.env) as running:
        ros.spin_until(lambda: prices, START_S, "prices")
        assert running.wait(30) == 0
    assert not prices[-1].servers and prices[-1].car_id == "car1"


def test_what_no_car_can_ask_for_is_refused_and_the_edge_keeps_its_shares(ros: RosWorld) -> None:
    shares: list[msg.FleetShares] = ros.collect(msg.FleetShares, "edge/shares", qos.LATCHED)
    prices = {
        name: ros.collect(msg.FleetPrice, f"/{name}/fleet_price", qos.LATCHED) for name in CAR_S
    }
    refused = refused_by(ros, "/fleet")
    fleet = begin_fleet(ros)
    node = ros.node("cars")
    asks = {
        name: node.create_publisher(msg.FleetDemand, f"/{name}/fleet_demand", qos.STATE)
        for name in CAR_S
    }
    ros.spin_until(
        lambda: all(each.get_subscription_count() for each in asks.values()), START_S, "the node"
    )
    good = {"servers": ["edge"], "edge_pull": array("d", [0.3]), "edge_load": 0.4}

    def ask() -> bool:
        for name in ("car1", "car2"):
            asks[name].publish(msg.FleetDemand(car_id=name, **good))
        ros.spin_for(0.2)
        told = prices["car1"][-1].edge_load if prices["car1"] else []
        return bool(told) and told[0] > 0

    ros.spin_until(ask, START_S, "a price of the other car")
    told = prices["car1"][-1]
    sums = [told.edge_load[0], told.edge_pull[0], told.edge_work[0]]
    assert sums == pytest.approx([0.4, 0.3, 0.12])
    ros.spin_until(lambda: ask() and list(shares[-1].cars) == ["car1", "car2"], 10.0, "shares")
    assert list(shares[-1].shares) == [1.0, 1.0]

    def ask_wrongly() -> bool:
        asks["car3"].publish(msg.FleetDemand(car_id="car2", **good))
        ros.spin_for(0.2)
        return "refused" in refused and refused["refused"] != "0"

    ros.spin_until(ask_wrongly, START_S, "the node hears this car, too")
    for wrong in (
        {"edge_pull": array("d", [math.nan])}, {"edge_pull": array("d", [-1.0])},
        {"edge_pull": array("d", [1e9])}, {"edge_pull": array("d")}, {"edge_load": -2.0},
        {"edge_gain_s": math.nan},
        {"servers": [""]}, {"air_pull": math.inf},
    ):  # fmt: skip
        ros.spin_for(1.5)  # until all before are counted
        known, asked = int(refused["refused"]), msg.FleetDemand(car_id="car3", **(good | wrong))

        def refuses(asked: msg.FleetDemand = asked, known: int = known) -> bool:
            # Again and again: only the newest waits for a busy node.
            asks["car3"].publish(asked)
            ros.spin_for(0.3)
            return int(refused["refused"]) > known

        ros.spin_until(refuses, 10.0, str(wrong))
    assert not prices["car3"][-1].servers
    assert fleet.stop() == 0
