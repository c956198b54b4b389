"""The node that decides: from link, loads and profiles to the plan that the head follows.

It runs on the car all the time and must stay small: no torch, no networkx.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.timer import Timer
from std_msgs.msg import UInt32

import dapdee_ros.msg as msg
from dapdee_ros.codec import CodecError
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.core.settings import changed as changed_settings
from dapdee_ros.estimation.car_health import gate_health, plan_health, score_health
from dapdee_ros.estimation.frame_rate import FrameRate
from dapdee_ros.estimation.health import Health, Level
from dapdee_ros.estimation.load import LoadEstimator
from dapdee_ros.estimation.prediction import GateShare, PredictionDrift
from dapdee_ros.estimation.presence import EdgePresence, Presence
from dapdee_ros.estimation.rejections import Rejections, shortened
from dapdee_ros.estimation.slowdown import SlowdownFilter
from dapdee_ros.exits.card import ModelCard, ModelFolderError, find_model, read_card
from dapdee_ros.graph.cuts import head_of
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.conversions import plan_to_message
from dapdee_ros.nodes.link import LinkEnd, listen_beyond
from dapdee_ros.nodes.message_checks import link_fault, load_fault, result_fault
from dapdee_ros.nodes.parameters import ParameterError, declare, declare_settings, on_change
from dapdee_ros.nodes.plan_question import Question, merged, worked_out
from dapdee_ros.nodes.policy_thread import PolicyThread
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.profile_intake import ProfileIntake
from dapdee_ros.nodes.timers import every
from dapdee_ros.nodes.topics import LEAN, listen_checking, publish_on
from dapdee_ros.partition.answer import NO_LINK, Answer, repriced
from dapdee_ros.partition.cost import LinkState, LoadState
from dapdee_ros.partition.device_profile import DeviceProfile
from dapdee_ros.partition.errors import PlanningError
from dapdee_ros.partition.from_card import measures_of, problem_of
from dapdee_ros.partition.keeper import PlanKeeper
from dapdee_ros.partition.pinned import parse_pinned
from dapdee_ros.partition.plan import Plan
from dapdee_ros.partition.policy import Policy, Problem, check_start, check_switch, make_policy

_SAY_ALIVE_S = 1.0


class PartitionManager(Node):
    """Subscribes profiles, link quality, loads and results; publishes the plan, latched."""

    def __init__(
        self,
        pass_results_to: Sequence[Callable[[msg.InferenceResult], None]] = (),
        link: LinkEnd | None = None,
    ) -> None:
        """Create the node.

        Args:
            pass_results_to: others of this process that want every result.
            link: this process's end of the link, from which what the edge says is taken; None:
                from the topics of its name, as another process of this machine relays it.
        """
        super().__init__("partition_manager", parameter_overrides=LEAN)
        declare(self, "model", "roadsigns", "Model to plan for: a name, or a model folder's path.")
        self._settings = declare_settings(self, PlanningSettings)
        declare(
            self,
            "codecs",
            ["f32", "f16", "u8", "u8z", "u4z", "jpeg"],
            "Codecs that a plan may use for what it sends. Other than f32 they are used only where "
            "the model's calibration says what they cost.",
        )
        try:
            self._card: ModelCard = read_card(find_model(self.get_parameter("model").value))
        except ModelFolderError as error:
            raise ParameterError(f"parameter model: {error}") from error
        self._pass_results_to = pass_results_to
        self._problem: Problem | None = None
        self._policy: Policy | None = None
        self._link: msg.LinkQuality | None = None
        self._slowdowns = {"car": SlowdownFilter(), "edge": SlowdownFilter()}
        self._load = LoadEstimator()
        self._in_force: msg.PartitionPlan | None = None
        self._frames = FrameRate()
        self._keeper = PlanKeeper()
        self._epoch = 0
        self._complaint = ""
        self._cannot_plan = ""
        self._decided_s = math.nan
        self._drift, self._gate_share = PredictionDrift(), GateShare()
        self._gate_drifted = False
        self._rejections = Rejections()
        begun_s = time.monotonic()
        self._head = Presence("head", "ros2 run dapdee_ros head", begun_s)
        self._edge = EdgePresence(begun_s)
        self._again: Timer | None = None
        self._again_s = math.inf
        self._policy_thread = PolicyThread(self, worked_out, self._conclude, merged)
        self._policy_at_start = self._settings.policy
        check_start(self._policy_at_start)
        self._check_settings(self._settings)
        on_change(self, self._set_parameters)
        self._plans = publish_on(self, msg.PartitionPlan, "plan", qos.LATCHED)
        # A plan is said once. That its manager still lives is said again and again, with less.
        self._alive = publish_on(self, UInt32, "plan_epoch", qos.STATE)
        every(self, _SAY_ALIVE_S, self._say_alive)
        self._profiles = ProfileIntake(
            self, self._card, self._rejections, self._take_profiles, link
        )
        for side in ("car", "edge"):
            listen_beyond(
                link,
                self,
                msg.NodeLoad,
                f"{side}/load",
                partial(self._take_load, side),
                qos.STATE,
                self._rejections,
                check=load_fault,
            )
        self._listen(msg.LinkQuality, "link_quality", self._take_link, qos.STATE, link_fault)
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
        new = changed_settings(self._settings, changed)
        self._check_settings(new)
        if new.policy != self._settings.policy:
            check_switch(new.policy, self._policy_at_start)
            if self._problem is not None:
                self._policy = make_policy(new.policy, self._problem)
        self._settings = new
        self._keeper.release()
        self._decide("a parameter was set")
        self._tell_terms()

    def _check_settings(self, settings: PlanningSettings) -> None:
        pinned = parse_pinned(settings.pinned_plan)
        if pinned is not None:
            head_of(self._card.dag, pinned.exit_number, pinned.boundary)
            measured = measures_of(self._card, self.get_parameter("codecs").value)
            settings.conditions.check(measured, pinned.key, "the pinned plan")
        self._keeper.settings = settings.keeper

    def _take_profiles(self, car: DeviceProfile, edge: DeviceProfile) -> None:
        for side, profile in (("car", car), ("edge", edge)):
            if self._problem is None or getattr(self._problem, side) is not profile:
                self._slowdowns[side] = SlowdownFilter()
        started_s = time.monotonic()
        try:
            self._problem = problem_of(self._card, car, edge, self.get_parameter("codecs").value)
            self._policy = make_policy(self._settings.policy, self._problem)
        except (PlanningError, GraphError, CodecError) as error:
            self._cannot_plan = shortened(f"cannot plan: {error}")
            self.get_logger().error(self._cannot_plan)
            return
        self._cannot_plan = ""
        self.get_logger().info(
            f"policy {self._settings.policy} made in {1e3 * (time.monotonic() - started_s):.0f} ms"
        )
        self._decide("profiles of car and edge are there")

    def _take_link(self, message: msg.LinkQuality) -> None:
        self._link = message
        self._edge.on_link(time.monotonic(), message.connected)
        self._load.on_link(time.monotonic(), message.uplink_bps, message.rtt_s, message.connected)
        self._decide(None)

    def _take_load(self, side: str, message: msg.NodeLoad) -> None:
        if side == "car":
            self._load.on_machine(
                time.monotonic(), message.cpu_ratio, message.memory_ratio, message.battery_ratio
            )

    def _take_result(self, result: msg.InferenceResult) -> None:
        for take in self._pass_results_to:
            take(result)
        now = time.monotonic()
        self._head.on_sign(now)
        self._slowdowns["car"].on_frame(now, result.car_slowdown)
        self._slowdowns["edge"].on_frame(now, result.edge_slowdown)
        plan = self._in_force
        if plan is None or result.plan_epoch != plan.epoch:
            return
        remote = result.place == msg.InferenceResult.PLACE_EDGE
        on_car = result.place == msg.InferenceResult.PLACE_CAR
        self._drift.on_frame(result.plan_epoch, result.latency_s)
        self._gate_share.on_frame(on_car and 0 < plan.gate == result.exit)
        self._load.on_frame(
            now,
            result.latency_s,
            plan.deadline_s,
            predicted_latency_s=plan.predicted_latency_s,
            head_s=result.head_s,
            predicted_head_s=plan.predicted_head_s,
            transfer_s=result.transfer_s if remote else math.nan,
            predicted_transfer_s=plan.predicted_transfer_s,
        )

    def _take_ledger(self, ledger: msg.FrameLedger) -> None:
        self._head.on_sign(time.monotonic())
        self._frames.on_count(time.monotonic(), ledger.session, ledger.accepted)

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Tasks plan, head, edge, load, gate and refused."""
        missing = self._profiles.missing
        plan = self._in_force
        gate = gate_health(self._gate_share)
        drifted = gate.level is not Level.OK
        if drifted and not self._gate_drifted:
            self.get_logger().warning(gate.message)
        self._gate_drifted = drifted
        return {
            "plan": plan_health(
                plan,
                age_s=now_s - self._decided_s,
                boundary=", ".join(plan.boundary) if plan else "",
                drift=self._drift,
                missing=f"the profile of {' and '.join(missing)} has not come: is it running, "
                "with the same model, ROS_DOMAIN_ID and namespace?"
                if missing
                else "",
                failure=self._cannot_plan or self._complaint,
            ),
            "head": self._head.health(now_s),
            "edge": self._edge.health(now_s),
            "load": score_health(self._load.estimate(now_s)),
            "gate": gate,
            "refused": self._rejections.health(now_s),
        }

    # --- what goes out --------------------------------------------------------------------------

    def _link_state(self) -> LinkState:
        link = self._link
        if link is None or not link.connected or not 0 < link.uplink_bps < math.inf:
            return NO_LINK
        return LinkState(
            uplink_bps=link.uplink_bps,
            rtt_s=link.rtt_s if 0 <= link.rtt_s < math.inf else 0.0,
            relative_spread=link.uplink_spread if 0 <= link.uplink_spread < math.inf else 1.0,
            window=self._settings.max_in_flight,
        )

    def _load_state(self) -> tuple[LoadState, str]:
        """The load, and the mode that follows from it."""
        now_s = time.monotonic()
        load = self._load.estimate(now_s)
        mode = self._settings.mode
        if mode == "auto":
            # The estimator's own verdict, because it has hysteresis around the threshold.
            heavy = load.heavy and not self._settings.priority
            mode = "throughput" if heavy else "latency"
        state = LoadState(
            car_slowdown=self._slowdowns["car"].at(now_s),
            edge_slowdown=self._slowdowns["edge"].at(now_s),
            score=load.score,
            indicators=load.indicators,
        )
        return state, mode

    def _decide(self, occasion: str | None) -> None:
        """Have the best plan as of now worked out; it is published if it is worth a change."""
        problem, policy = self._problem, self._policy
        if problem is None or policy is None:
            return
        load, mode = self._load_state()
        asked = Question(
            occasion,
            problem,
            policy,
            self._link_state(),
            load,
            mode,
            self._settings,
            self._most_period_s(),
        )
        if asked.is_quick:
            self._conclude(asked, worked_out(asked))
        else:
            # Only of ours is it known how long it takes.
            self._policy_thread.ask(asked)

    def _conclude(self, asked: Question, found: Answer) -> None:
        """Publish a plan if it is worth a change.

        Args:
            asked: what it was asked for.
            found: the plan, and why it is not what was asked for.
        """
        problem, settings, link, load = asked.problem, asked.settings, asked.link, asked.load
        if problem is not self._problem or settings is not self._settings:
            return  # asked under other circumstances; it has been asked again since
        # The margin keeps two plans from taking turns where one is just within the bound.
        current = repriced(
            self._keeper.plan,
            replace(
                asked.situation,
                most_period_s=(1 + settings.plan_margin) * asked.most_period_s,
            ),
            problem,
        )
        if found.complaint and found.complaint != self._complaint:
            self.get_logger().error(found.complaint)
        self._complaint = found.complaint
        if found.plan is None or (found.complaint and current is not None):
            return  # the last good plan is better than none
        new = found.plan
        why = self._keeper.consider(time.monotonic(), new, current, obey=not asked.follows_gain)
        if why is None:
            self._ask_again(self._keeper.reconsider_s)
            return
        policy = "pinned" if settings.pinned_plan else settings.policy
        self._tell(new, f"{asked.occasion or why}; {new.reason}", link, load, policy)

    def _tell_terms(self) -> None:
        """Tell the plan in force anew where deadline or window are not those it was told with.

        The head has to keep them from the next frame on, whether or not another plan follows from
        them, and however long a policy thinks about that.
        """
        told, plan, settings = self._in_force, self._keeper.plan, self._settings
        if told is None or plan is None or self._problem is None:
            return
        if settings.conditions.breaches(self._problem, *plan.key):
            return  # set together with what forbids this plan: another one follows
        if (told.deadline_s, told.max_in_flight) == (
            settings.deadline_s,
            settings.max_in_flight,
        ):
            return
        why = f"deadline or window was set; {plan.reason}"
        self._tell(plan, why, self._link_state(), self._load_state()[0], told.policy)

    def _tell(self, new: Plan, why: str, link: LinkState, load: LoadState, policy: str) -> None:
        """Publish a plan; it is the one in force from now on."""
        self._epoch += 1
        message = plan_to_message(
            replace(new, reason=why),
            stamp=self.get_clock().now().to_msg(),
            epoch=self._epoch,
            model_id=self._card.model_id,
            deadline_s=self._settings.deadline_s,
            max_in_flight=self._settings.max_in_flight,
            load_score=load.score,
            policy=policy,
        )
        self._in_force = message
        self._decided_s = time.monotonic()
        self._drift.on_plan(self._epoch, message.predicted_latency_s)
        self._gate_share.on_plan(new.gate, new.gate_threshold or 0.0, new.gate_share)
        self._plans.publish(message)
        where = f"send {', '.join(new.boundary)} as {new.codec}" if new.boundary else "all on car"
        self.get_logger().info(
            f"plan {self._epoch}: exit {new.exit_number}, {where}, "
            f"{1e3 * new.expected_latency_s:.0f} ms at "
            f"{link.uplink_bps / 1e6:.2f} Mbit/s ({why})"
        )

    def _say_alive(self) -> None:
        if self._in_force is not None:
            self._alive.publish(UInt32(data=self._epoch))

    def _ask_again(self, at_s: float) -> None:
        """Decide once more at a time, news or not: only the dwell was in the way."""
        if at_s >= self._again_s:
            return
        self._forget_timer()
        self._again_s = at_s
        delay_s = max(0.001, at_s - time.monotonic())
        self._again = every(self, delay_s, self._decide_again)

    def _decide_again(self) -> None:
        self._forget_timer()
        self._decide(None)

    def _forget_timer(self) -> None:
        if self._again is not None:
            self.destroy_timer(self._again)
        self._again, self._again_s = None, math.inf

    def _most_period_s(self) -> float:
        share = self._settings.frame_utilisation
        if not share:
            return math.inf
        interval_s = self._frames.interval_s
        # Until their rate is known, frames are taken to come three within a deadline.
        return share * (self._settings.deadline_s / 3 if math.isinf(interval_s) else interval_s)


def main() -> int:
    """Run the partition manager alone, without the monitors."""
    return run_nodes(lambda: [PartitionManager()])
