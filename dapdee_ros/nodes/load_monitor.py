"""The node that measures a machine's load: NodeLoad from psutil and results. No torch."""

from __future__ import annotations

import math
import platform
from dataclasses import asdict
from typing import Any

import psutil
from rclpy.node import Node
from sensor_msgs.msg import BatteryState
from std_msgs.msg import Header

import dapdee_ros.msg as msg
from dapdee_ros.estimation import credible
from dapdee_ros.estimation.car_health import MachineLoad, machine_health
from dapdee_ros.estimation.health import Health, Level
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.car import car_of, declare_cars
from dapdee_ros.nodes.link import LinkEnd, OpenEnd, link_end
from dapdee_ros.nodes.message_checks import result_fault
from dapdee_ros.nodes.parameters import declare_settings
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.process_settings import LoadMonitorSettings
from dapdee_ros.nodes.servers import declare_server, link_topics
from dapdee_ros.nodes.timers import every
from dapdee_ros.nodes.topics import LEAN, listen_checking
from dapdee_ros.sealing.channels import Role

_SMOOTHING = 0.2


class LoadMonitor(Node):
    """Publishes car/load or edge/load."""

    def __init__(self, machine: str = "car", hear_results: bool = True) -> None:
        """Create the node.

        Args:
            machine: default of the parameter with that name.
            hear_results: subscribe to the car's results; False if the owner calls ``take_result``.
        """
        super().__init__("load_monitor", parameter_overrides=LEAN)
        settings = declare_settings(self, LoadMonitorSettings, machine=machine)
        self._side = settings.machine
        self.rejections = Rejections()
        self._slowdown = math.nan
        self._queue_depth = 0
        self._battery_ratio = math.nan
        self._measured: MachineLoad | None = None
        # Only the edge's crosses the link.
        self._links: list[LinkEnd] = [OpenEnd(self)] if self._side == "car" else self._edge_links()
        self._loads = [
            (link.car.car_id, link.publisher(f"{self._side}/load", msg.NodeLoad, qos.STATE))
            for link in self._links
        ]
        if self._side == "car":
            if hear_results:
                listen_checking(
                    self,
                    msg.InferenceResult,
                    "inference",
                    self.take_result,
                    qos.RESULT,
                    self.rejections,
                    check=result_fault,
                )
            listen_checking(
                self,
                msg.FrameLedger,
                "ledger",
                self._take_ledger,
                qos.LATCHED,
                self.rejections,
            )
            self.create_subscription(BatteryState, "battery_state", self._take_battery, qos.IMAGE)
        else:
            for link in self._links:
                car = None if link.car == car_of(self) else link.car
                listen_checking(
                    self,
                    msg.InferenceResult,
                    link_topics(car, link.server)("edge_result"),
                    self.take_result,
                    qos.tensor_qos(settings.reliable, 10),
                    self.rejections,
                    check=result_fault,
                )
        psutil.cpu_percent()  # the first call only starts the measurement
        every(self, settings.period_s, self._publish)

    def _edge_links(self) -> list[LinkEnd]:
        own, server = car_of(self), declare_server(self)
        return [
            link_end(self, Role.EDGE_LOAD, None if car == own else car, server)
            for car in declare_cars(self)
        ]

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Tasks machine and refused."""
        measured = self._measured
        return {
            "machine": Health(Level.STALE, "not measured yet", {})
            if measured is None
            else machine_health(measured),
            "refused": self.rejections.health(now_s),
        }

    def destroy_node(self) -> None:
        """End the link, then the node."""
        for link in self._links:
            link.close()
        super().destroy_node()

    def take_result(self, result: msg.InferenceResult) -> None:
        """Learn from a result how slow this machine is at present."""
        told = result.car_slowdown if self._side == "car" else result.edge_slowdown
        slowdown = credible.slowdown(told)
        if math.isfinite(slowdown):
            old = self._slowdown if math.isfinite(self._slowdown) else slowdown
            self._slowdown = old + _SMOOTHING * (slowdown - old)

    def _take_ledger(self, ledger: msg.FrameLedger) -> None:
        self._queue_depth = ledger.in_flight

    def _take_battery(self, battery: BatteryState) -> None:
        # Some drivers publish per cent although the message's definition says 0 to 1.
        self._battery_ratio = credible.share(battery.percentage)

    def _publish(self) -> None:
        battery = self._battery_ratio
        if math.isnan(battery):
            state = _sensors("sensors_battery")
            battery = state.percent / 100 if state else math.nan
        chips = (_sensors("sensors_temperatures") or {}).values()
        load = MachineLoad(
            cpu_ratio=psutil.cpu_percent() / 100,
            memory_ratio=psutil.virtual_memory().percent / 100,
            battery_ratio=battery,
            temperature_c=max((s.current for chip in chips for s in chip), default=math.nan),
            slowdown=self._slowdown,
            queue_depth=self._queue_depth,
        )
        self._measured = load
        for car_id, publisher in self._loads:
            publisher.publish(
                msg.NodeLoad(
                    header=Header(stamp=self.get_clock().now().to_msg()),
                    car_id=car_id,
                    machine=platform.node(),
                    **asdict(load),
                )
            )


def _sensors(name: str) -> Any:
    """The machine's sensors as read by psutil; None if there are none or it can't."""
    try:
        return getattr(psutil, name)()
    except (AttributeError, OSError):
        return None


def main() -> int:
    """Run the load monitor alone, as on the edge server."""
    return run_nodes(lambda: [LoadMonitor()])
