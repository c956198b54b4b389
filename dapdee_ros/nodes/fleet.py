"""The fleet's node: publishes prices to cars, and their shares to the edge server. No torch.

Nothing depends on it. What it says holds for a few seconds (``valid_s``), then cars plan alone and
the edge server goes by its own parameter; when it is back it begins anew.
"""

from __future__ import annotations

import time
from array import array
from functools import partial
from typing import Any

from rclpy.node import Node
from std_msgs.msg import Header

import dapdee_ros.msg as msg
from dapdee_ros.core.fleet_prices import FleetPrices, FleetSettings
from dapdee_ros.core.settings import changed as changed_settings
from dapdee_ros.estimation.health import Health, Level, Value
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.car import car_of, declare_cars
from dapdee_ros.nodes.fleet_messages import demand_fault, message_to_demand, posted_to_message
from dapdee_ros.nodes.link import LinkEnd, link_end
from dapdee_ros.nodes.parameters import declare_settings, on_change
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.servers import declare_servers, server_topic
from dapdee_ros.nodes.timers import every
from dapdee_ros.nodes.topics import LEAN, publish_on
from dapdee_ros.sealing.channels import Role

_REFRESH_S = 1.0
"""Between two repetitions of what holds."""


class FleetNode(Node):
    """Subscribes to fleet_demand of every car; publishes fleet_price to each, and edge/shares."""

    def __init__(self) -> None:
        super().__init__("fleet", parameter_overrides=LEAN)
        own = car_of(self)
        cars = declare_cars(self)
        settings = declare_settings(self, FleetSettings)
        # Later runs have higher epochs, as long as nobody sets the clock back; then cars refuse
        # what this one says until what an earlier one said has ceased to hold.
        self._prices = FleetPrices(settings, epoch=time.time_ns())
        self.rejections = Rejections()
        self._links: list[LinkEnd] = [
            link_end(self, Role.FLEET, None if car == own else car) for car in cars
        ]
        self._prices_to: dict[str, Any] = {}
        for link in self._links:
            link.listen_timed(
                "fleet_demand", msg.FleetDemand, partial(self._take, link), qos.STATE,
                self.rejections, check=demand_fault,
            )  # fmt: skip
            self._prices_to[link.car.car_id] = link.publisher(
                "fleet_price", msg.FleetPrice, qos.LATCHED
            )
        self._shares = {
            name: publish_on(self, msg.FleetShares, server_topic(name, "edge/shares"), qos.LATCHED)
            for name in declare_servers(self)
        }
        on_change(self, self._set_parameters)
        self._refresh()
        every(self, settings.turn_s, self._turn)
        every(self, min(_REFRESH_S, settings.valid_s / 3), self._refresh)

    def _set_parameters(self, changed: dict[str, Any]) -> None:
        self._prices.settings = changed_settings(self._prices.settings, changed)

    def _take(self, link: LinkEnd, message: msg.FleetDemand, _arrived_s: float) -> None:
        car = link.car
        if fault := car.mismatch(message.car_id):
            self.rejections.count(time.monotonic(), "demand of another car", fault)
            return
        self._prices.hear(time.monotonic(), car.car_id, message_to_demand(message))

    def _turn(self) -> None:
        """Tell the cars whose turn it is what the others ask for now."""
        for car_id in self._prices.advance(time.monotonic()):
            self._tell(car_id)

    def _refresh(self) -> None:
        """Tell everybody again what holds, the edge server its cars' shares."""
        for car_id in self._prices_to:
            self._tell(car_id)
        for server, publisher in self._shares.items():
            shares = self._prices.shares(server)
            publisher.publish(
                msg.FleetShares(
                    header=Header(stamp=self.get_clock().now().to_msg()),
                    server=server,
                    epoch=self._prices.epoch,
                    number=self._prices.number,
                    valid_s=self._prices.settings.valid_s,
                    cars=list(shares),
                    shares=array("d", shares.values()),
                )
            )

    def _tell(self, car_id: str) -> None:
        stamp = self.get_clock().now().to_msg()
        posted = self._prices.posted(car_id)
        self._prices_to[car_id].publish(posted_to_message(posted, stamp, car_id))

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Tasks fleet, refused, and seal (per car, if there are several)."""
        found = {"fleet": self._health(), "refused": self.rejections.health(now_s)}
        for link in self._links:
            of_car = f" of {link.car.car_id}" if len(self._links) > 1 else ""
            found |= {f"{task}{of_car}": h for task, h in link.diagnose(now_s).items()}
        return found

    def _health(self) -> Health:
        demands, prices = self._prices.demands, self._prices
        values: dict[str, Value] = {"cars": len(demands), "turns": prices.number}
        for server in sorted({s for demand in demands.values() for s in demand.edge_pulls}):
            values[f"load ({server})"], values[f"pull ({server})"] = prices.of(server)[:2]
        for cell in sorted({demand.cell for demand in demands.values()} - {""}):
            values[f"load ({cell})"], values[f"pull ({cell})"] = prices.of_cell(cell)[:2]
        for car, demand in demands.items():
            values[f"load ({car})"] = demand.edge_load
        if not demands:
            return Health(
                Level.STALE,
                "no car has said what it asks for: parameter cars names their namespaces, and "
                "their managers have to run in this ROS domain",
                values,
            )
        return Health(Level.OK, f"prices for {len(demands)} cars", values)

    def destroy_node(self) -> None:
        """End the links, then the node."""
        for link in self._links:
            link.close()
        super().destroy_node()


def main() -> int:
    """Run the fleet node until it is stopped."""
    return run_nodes(lambda: [FleetNode()])
