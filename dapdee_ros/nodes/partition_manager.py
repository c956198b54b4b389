"""The node that decides: from link, loads and profiles to the plan that the head follows.

It always runs on the car and must stay small: no torch, no networkx.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.timer import Timer
from std_msgs.msg import UInt32

import dapdee_ros.msg as msg
from dapdee_ros.codecs import CodecError
from dapdee_ros.codecs.camera_file import CAMERA
from dapdee_ros.core.camera_stream import CameraFiles
from dapdee_ros.core.fleet_car import fleet_health
from dapdee_ros.core.manager import SAY_ALIVE_S, ManagerCore
from dapdee_ros.core.manager_events import (
    Action,
    AnswerFound,
    Ask,
    CameraChanged,
    DrainSet,
    Event,
    Foretell,
    FramesCounted,
    LinkEstimated,
    LoadMeasured,
    PricesCame,
    ProblemChanged,
    ProblemRefused,
    Question,
    RefusePrices,
    SayAlive,
    SettingsChanged,
    TellDemand,
    TellPlan,
    TimePassed,
    WakeAt,
)
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.core.settings import changed as changed_settings
from dapdee_ros.estimation.car_health import gate_health, plan_health, score_health
from dapdee_ros.estimation.health import Health, Level
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.exits.bottlenecks import asked_codecs
from dapdee_ros.exits.card import ModelCard, ModelFolderError, find_model, read_card
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.car import car_of
from dapdee_ros.nodes.conversions import message_to_result_came, plan_to_message
from dapdee_ros.nodes.fleet_messages import demand_to_message, message_to_posted, price_fault
from dapdee_ros.nodes.link import NO_LINKS, LinkEnd, listen_beyond
from dapdee_ros.nodes.message_checks import link_fault, load_fault, result_fault
from dapdee_ros.nodes.parameters import ParameterError, declare_settings, on_change
from dapdee_ros.nodes.policy_thread import PolicyThread
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.process_settings import ManagerNodeSettings
from dapdee_ros.nodes.profile_intake import ProfileIntake
from dapdee_ros.nodes.servers import declare_servers, task_of_server
from dapdee_ros.nodes.timers import every
from dapdee_ros.nodes.topics import LEAN, listen_checking, publish_on
from dapdee_ros.planning.answer import Answer
from dapdee_ros.planning.device_profile import DeviceProfile
from dapdee_ros.planning.errors import PlanningError
from dapdee_ros.planning.from_card import (
    ASSUMED_QUALITY,
    measures_of,
    problem_of,
    quality_known,
)
from dapdee_ros.planning.policy import Policy, Problem, check_start, make_policy
from dapdee_ros.planning.sites import EDGE


class PartitionManager(Node):
    """Subscribes to profiles, link quality, loads and results; publishes the plan, latched."""

    def __init__(
        self,
        pass_results_to: Sequence[Callable[[msg.InferenceResult], None]] = (),
        links: Mapping[str, LinkEnd] = NO_LINKS,
    ) -> None:
        """Create the node.

        Args:
            pass_results_to: other nodes of this process that need every result.
            links: this process's ends of the links by server, for the edges' messages; without them
                it subscribes to their topics, as relayed by another process of this machine.
        """
        super().__init__("partition_manager", parameter_overrides=LEAN)
        own = declare_settings(self, ManagerNodeSettings)
        settings = declare_settings(self, PlanningSettings)
        servers = declare_servers(self)
        try:
            self._card: ModelCard = read_card(find_model(own.model))
        except ModelFolderError as error:
            raise ParameterError(f"parameter model: {error}") from error
        try:
            self._codecs = asked_codecs(self._card, own.codecs)
        except CodecError as error:
            raise ParameterError(f"parameter codecs: {error}") from error
        if not quality_known(self._card):
            self.get_logger().warning(f"model {self._card.name}: {ASSUMED_QUALITY}")
        check_start(settings.policy)
        known = measures_of(self._card, self._codecs)
        self._core = ManagerCore(settings, known, time.monotonic(), servers)
        self._pass_results_to = pass_results_to
        self._plan: msg.PartitionPlan | None = None
        self._gate_drifted = False
        self._rejections = Rejections()
        self._wake: Timer | None = None
        self._camera: CameraFiles | None = None
        self._measured: dict[str, tuple[DeviceProfile, DeviceProfile]] = {}
        self._policy_thread = PolicyThread(
            self, Question.answer, self._take_answer, lambda before, now: now.after(before)
        )
        on_change(self, self._set_parameters)
        self._plans = publish_on(self, msg.PartitionPlan, "plan", qos.LATCHED)
        self._forecasts = publish_on(self, msg.PartitionPlan, "plan_forecast", qos.STATE)
        self._alive = publish_on(self, UInt32, "plan_epoch", qos.STATE)
        every(self, SAY_ALIVE_S, self._say_no_plan)
        self._profiles = ProfileIntake(
            self,
            self._card,
            self._rejections,
            self._take_profiles,
            lambda server, draining: self._handle(DrainSet(server, draining)),
            servers,
            links,
        )
        self._listen(msg.NodeLoad, "car/load", self._take_load, qos.STATE, load_fault)
        for server in servers:
            listen_beyond(
                links.get(server), self, msg.NodeLoad, "edge/load", _ignore, qos.STATE,
                self._rejections, check=load_fault, server=server,
            )  # fmt: skip
        # A fleet node's messages cross a sealed link only where there is one edge server.
        link = links.get(EDGE)
        listen_beyond(
            link, self, msg.FleetPrice, "fleet_price", self._take_prices, qos.LATCHED,
            self._rejections, check=price_fault,
        )  # fmt: skip
        self._demands = (
            publish_on(self, msg.FleetDemand, "fleet_demand", qos.STATE)
            if link is None
            else link.publisher("fleet_demand", msg.FleetDemand, qos.STATE)
        )
        self._listen(msg.LinkQuality, "link_quality", self._take_link, qos.LINK, link_fault)
        self._listen(msg.InferenceResult, "inference", self._take_result, qos.RESULT, result_fault)
        self._listen(msg.FrameLedger, "ledger", self._take_ledger, qos.LATCHED)

    def _listen(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        profile: QoSProfile,
        check: Callable[[Any], str] | None = None,
    ) -> None:
        listen_checking(self, kind, topic, callback, profile, self._rejections, check=check)

    # --- what comes in --------------------------------------------------------------------------

    def _set_parameters(self, changed: dict[str, Any]) -> None:
        core = self._core
        new = changed_settings(core.settings, changed)
        core.check(new)
        policies = {}
        if new.policy != core.settings.policy:
            problems = core.servers.problems
            policies = {name: self._make_policy(new.policy, p) for name, p in problems.items()}
        self._handle(SettingsChanged(new, policies))

    def _take_profiles(self, server: str, car: DeviceProfile, edge: DeviceProfile) -> None:
        self._measured[server] = car, edge
        self._price(server, f"profiles of car and {server} are there")

    def _take_camera(self, files: CameraFiles | None) -> None:
        self._camera = files
        if CAMERA in self._codecs:
            size = f"JPEGs of about {files.file_bytes / 1e3:.0f} kB" if files else "no JPEGs"
            for server in self._measured:
                self._price(server, f"the camera delivers {size}")

    def _price(self, server: str, occasion: str) -> None:
        """Price all plans over a server, for one of these reasons."""
        measured = self._measured[server]
        try:
            camera = self._camera.cost(*measured) if self._camera else None
            problem = problem_of(self._card, *measured, self._codecs, camera, announced=True)
            policy = self._make_policy(self._core.settings.policy, problem)
        except (PlanningError, GraphError, CodecError) as error:
            self._handle(ProblemRefused(str(error)))
        else:
            self._handle(ProblemChanged(problem, policy, occasion, server))

    def _make_policy(self, name: str, problem: Problem) -> Policy:
        started_s = time.monotonic()
        policy = make_policy(name, problem)
        took_ms = 1e3 * (time.monotonic() - started_s)
        self.get_logger().info(f"policy {name} made in {took_ms:.0f} ms")
        return policy

    def _take_link(self, link: msg.LinkQuality) -> None:
        of_link = (link.uplink_bps, link.rtt_s, link.uplink_spread, link.connected)
        self._handle(LinkEstimated(*of_link, link.server or EDGE))

    def _take_load(self, load: msg.NodeLoad) -> None:
        self._handle(LoadMeasured(load.cpu_ratio, load.memory_ratio, load.battery_ratio))

    def _take_result(self, result: msg.InferenceResult) -> None:
        for take in self._pass_results_to:
            take(result)
        self._handle(message_to_result_came(result))

    def _take_ledger(self, ledger: msg.FrameLedger) -> None:
        self._handle(FramesCounted(ledger.session, ledger.accepted))

    def _take_prices(self, prices: msg.FleetPrice) -> None:
        if fault := car_of(self).mismatch(prices.car_id):
            self._do(RefusePrices(fault))
        else:
            self._handle(PricesCame(message_to_posted(prices)))

    def _take_answer(self, question: Question, answer: Answer) -> None:
        self._handle(AnswerFound(question, answer))

    def _wake_up(self) -> None:
        self._forget_timer()
        self._handle(TimePassed())

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Tasks plan, head, edge (of every server), load, gate, fleet and refused."""
        missing = self._profiles.missing
        plan, core = self._plan, self._core
        gate = gate_health(core.gate_share)
        drifted = gate.level is not Level.OK
        if drifted and not self._gate_drifted:
            self.get_logger().warning(gate.message)
        self._gate_drifted = drifted
        return {
            "plan": plan_health(
                plan,
                age_s=now_s - core.told_s,
                boundary=", ".join(plan.boundary) if plan else "",
                drift=core.drift,
                missing=f"the profile of {' and '.join(missing)} has not arrived: is it running, "
                "with the same model, ROS_DOMAIN_ID and namespace?"
                if missing
                else "",
                failure=self._profiles.other_model or core.complaint,
            ),
            "head": core.head.health(now_s),
            **{
                task_of_server("edge", name): server.health(now_s)
                for name, server in core.servers.by_name.items()
            },
            "load": score_health(core.load(now_s)),
            "gate": gate,
            "fleet": fleet_health(core.prices, core.settings.cell, now_s),
            "refused": self._rejections.health(now_s),
        }

    # --- what goes out --------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        for action in self._core.handle(time.monotonic(), event):
            self._do(action)

    def _do(self, action: Action) -> None:
        if isinstance(action, TellPlan):
            self._tell(action)
        elif isinstance(action, Foretell):
            self._forecasts.publish(self._message(action.told))
        elif isinstance(action, SayAlive):
            self._alive.publish(UInt32(data=action.epoch))
        elif isinstance(action, Ask):
            self._policy_thread.ask(action.question)
        elif isinstance(action, CameraChanged):
            self._take_camera(action.files)
        elif isinstance(action, WakeAt):
            self._forget_timer()
            delay_s = max(0.001, action.at_s - time.monotonic())
            self._wake = every(self, delay_s, self._wake_up)
        elif isinstance(action, TellDemand):
            stamp = self.get_clock().now().to_msg()
            self._demands.publish(demand_to_message(action.demand, stamp, car_of(self).car_id))
        elif isinstance(action, RefusePrices):
            if self._rejections.count(time.monotonic(), "impossible price", action.why):
                self.get_logger().warning(f"prices are not used: {action.why}")
        elif not action.repeated:
            self.get_logger().error(action.text)

    def _tell(self, told: TellPlan) -> None:
        plan = told.plan
        self._plan = self._message(told)
        self._plans.publish(self._plan)
        where = (
            f"send {', '.join(plan.boundary)} as {plan.codec} to {plan.server}"
            if plan.boundary
            else "all on car"
        )
        self.get_logger().info(
            f"plan {told.epoch}: exit {plan.exit_number}, {where}, "
            f"{1e3 * plan.expected_latency_s:.0f} ms at "
            f"{told.uplink_bps / 1e6:.2f} Mbit/s ({told.why})"
        )

    def _message(self, told: TellPlan) -> msg.PartitionPlan:
        return plan_to_message(
            told,
            stamp=self.get_clock().now().to_msg(),
            model_id=self._card.model_id,
            car_id=car_of(self).car_id,
        )

    def _say_no_plan(self) -> None:
        """Tell the head that a manager is running, though without a plan."""
        if self._core.told is None:
            self._alive.publish(UInt32(data=0))

    def _forget_timer(self) -> None:
        if self._wake is not None:
            self.destroy_timer(self._wake)
            self._wake = None


def _ignore(_load: msg.NodeLoad) -> None:
    """With a key, receiving the edge's load also relays it to this machine's other processes."""


def main() -> int:
    """Run the partition manager alone, without the monitors."""
    return run_nodes(lambda: [PartitionManager()])
