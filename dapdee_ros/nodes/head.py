"""The car's inference node: runs the head, sends the boundary, publishes one result per frame."""

from __future__ import annotations

import math
import secrets
import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header, UInt32

import dapdee_ros.msg as msg
from dapdee_ros.core.frames import (
    FramePlan,
    FrameResult,
    HeadFrame,
    Place,
)
from dapdee_ros.core.head_events import Unused
from dapdee_ros.core.head_settings import HeadSettings
from dapdee_ros.core.settings import changed as changed_settings
from dapdee_ros.estimation.health import Health, Level
from dapdee_ros.estimation.rejections import shortened
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.car import Car, car_of
from dapdee_ros.nodes.conversions import (
    frame_result_to_message,
    ledger_to_message,
    message_to_frame_plan,
    message_to_tail_answer,
)
from dapdee_ros.nodes.image_input import ArrivedImage, ImageInput
from dapdee_ros.nodes.image_publishers import ImagePublishers
from dapdee_ros.nodes.images import (
    ImageError,
    camera_file,
    compressed_to_rgb,
    image_to_rgb,
    source_size,
)
from dapdee_ros.nodes.model_lifecycle import NOT_ACTIVE, ModelLifecycleNode
from dapdee_ros.nodes.parameters import declare_settings, on_change
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.process_settings import HeadNodeSettings
from dapdee_ros.nodes.server_port import ServerPort
from dapdee_ros.nodes.servers import declare_servers, task_of_server
from dapdee_ros.nodes.timers import every
from dapdee_ros.nodes.topics import listen_checking, listen_to
from dapdee_ros.nodes.vision_topics import VisionTopics
from dapdee_ros.planning.conditions import Condition, HardConditions, ModelMeasures
from dapdee_ros.planning.errors import ConditionError
from dapdee_ros.planning.from_card import measures_of
from dapdee_ros.runtime.head import FrameError, HeadRuntime, Trace
from dapdee_ros.runtime.health import LedgerHealth, head_health
from dapdee_ros.runtime.network_input import network_input, placement
from dapdee_ros.runtime.split_network import SplitNetwork
from dapdee_ros.sealing.channels import Role


class Head(ModelLifecycleNode):
    """Subscribes to image_raw, plan and edge_result; publishes head_tensor, inference, ledger.

    Of several edge servers each has its own head_tensor and edge_result (``nodes.servers``).
    """

    def __init__(self, trace: Trace | None = None) -> None:
        """Create the node.

        Args:
            trace: called with every event of the head's core and the resulting actions.
        """
        super().__init__("head", "car/profile", Role.HEAD)
        self._car = car_of(self)
        self._ports = {link.server: ServerPort(link, self.rejections) for link in self.links}
        self._trace = trace
        self._settings = declare_settings(self, HeadSettings)
        own = declare_settings(self, HeadNodeSettings)
        on_change(self, self._set_parameters)
        self._runtime: HeadRuntime | None = None
        self._results = self.create_publisher(msg.InferenceResult, "inference", qos.RESULT)
        self._vision = VisionTopics(self, own.vision_classes)
        self._unused_answers = self.create_publisher(
            msg.InferenceResult, "unused_answer", qos.RESULT
        )
        self._ledgers = self.create_publisher(msg.FrameLedger, "ledger", qos.LATCHED)
        self._images = ImageInput(self, self._take_image)
        self._timer: Any = None
        self._conditions = HardConditions(
            keep_raw_on_car=own.keep_raw_on_car,
            quality_floor=own.quality_floor,
            keep_raw_on_car_ssim=own.keep_raw_on_car_ssim,
        )
        self._measured: ModelMeasures | None = None
        self._permitted_plan: msg.PartitionPlan | None = None
        self._untried_plan: msg.PartitionPlan | None = None
        self._unplanned_s = -math.inf
        self._health = LedgerHealth()
        self._cameras = ImagePublishers(self)
        listen_checking(
            self, msg.PartitionPlan, "plan", self._take_plan, qos.LATCHED, self.rejections
        )
        listen_to(self, UInt32, "plan_epoch", self._hear_manager, qos.STATE)

    def _peers(self) -> list[tuple[Car | None, str]]:
        return [(None, server) for server in declare_servers(self)]

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start taking frames."""
        if not isinstance(self.network, SplitNetwork):
            return TransitionCallbackReturn.FAILURE
        reliable = self.get_parameter("reliable").value
        settings = self._settings
        for port in self._ports.values():
            port.open(reliable, settings.max_in_flight)
        self._runtime = HeadRuntime(
            self.network,
            load=self._load,
            send=lambda frame: self._ports[frame.server].send(frame),
            publish=self._publish,
            session=secrets.randbits(32),
            settings=settings,
            rejections=self.rejections,
            check_plan=self._check_plan,
            unused=self._tell_unused,
            announce=self._announce,
            trace=self._trace,
            file_of=lambda image: camera_file(image.message),
        )
        self._measured = measures_of(self.network.card)
        least_score = getattr(self.network.task, "score", 0.0)
        stamp = self.get_clock().now().to_msg()
        self._vision.describe(self.network.card, least_score, stamp)
        for plan in (self._permitted_plan, self._untried_plan):
            if plan is not None:
                self._take_plan(plan)
        self._health = LedgerHealth()
        self._runtime.start()
        self._images.open()
        for port in self._ports.values():
            port.listen(reliable, self._take_answer)
        self._timer = every(self, self.get_parameter("ledger_period_s").value, self._publish_ledger)
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop taking frames; open ones end as drops."""
        self.stop_runtime()
        return super().on_deactivate(state)

    def stop_runtime(self) -> None:
        """End the inference thread, close the ledger and publish it."""
        self._images.close()
        for port in self._ports.values():
            port.stop_listening()
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        if self._runtime is None:
            return
        self._runtime.stop()
        self._publish_ledger()
        summary = self._runtime.ledger()
        self.get_logger().info(
            f"ledger: {summary.accepted} accepted = {summary.results} results + {summary.drops} "
            f"drops + {summary.in_flight} in flight"
        )
        self._runtime = None
        for port in self._ports.values():
            port.close()

    def _set_parameters(self, changed: dict[str, Any]) -> None:
        self._settings = changed_settings(self._settings, changed)
        if self._runtime is not None:
            self._runtime.settings = self._settings

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Tasks ledger, head, images, refused, and seal (per server, if there are several)."""
        runtime = self._runtime
        common = {"refused": self.rejections.health(now_s)}
        for server, port in self._ports.items():
            found = port.link.diagnose(now_s)
            common |= {task_of_server(task, server): health for task, health in found.items()}
        if runtime is None or self.network is None:
            return {"head": Health(Level.STALE, NOT_ACTIVE, {}), **common}
        card, ledger = self.network.card, runtime.ledger()
        plan = runtime.plan
        holds = runtime.settings.under(plan)
        return {
            "ledger": self._health.judge(
                now_s,
                ledger,
                fallbacks=ledger.places.get(Place.CAR_FALLBACK, 0),
                deadline_s=holds.deadline_s,
                quiet_s=self._images.health.silent_s(now_s),
            ),
            "head": head_health(
                plan,
                f"{card.name} ({card.model_id[:12]})",
                deadline_s=holds.deadline_s,
                max_in_flight=holds.max_in_flight,
                manager_silent_s=runtime.manager_silent_s,
                manager_plans=now_s - self._unplanned_s > holds.plan_timeout_s,
                queue_depth=runtime.queue_depth,
                slowdown=runtime.slowdown,
                displaced=sum(port.displaced for port in self._ports.values()),
            ),
            "images": self._judge_images(now_s),
            **common,
        }

    def _judge_images(self, now_s: float) -> Health:
        came, publishers = self._images.health.judge(now_s), self._cameras.health(now_s)
        worse = publishers if publishers.level is not Level.OK and came.level is Level.OK else came
        return replace(worse, values={**publishers.values, **came.values})

    def _take_image(self, image: ArrivedImage) -> None:
        if self._runtime is not None:
            self._runtime.accept(image)

    def _take_answer(self, server: str, message: msg.InferenceResult) -> None:
        # The link's thread may deliver this while another thread stops the head.
        runtime, network = self._runtime, self.network
        if runtime is not None and network is not None:
            runtime.answer(message_to_tail_answer(message, network.task, server))

    def _tell_unused(self, unused: Unused) -> None:
        # There is no result for it, but the link monitor needs to know: about frames that were
        # really sent, with time and size as recorded here.
        message = unused.answer.context
        message.server = unused.answer.server
        message.sent_echo_s, message.sent_bytes = unused.sent_s, unused.sent_bytes
        message.cpu_wait_s = unused.cpu_wait_s
        self._unused_answers.publish(message)

    def _hear_manager(self, epoch: UInt32) -> None:
        if epoch.data == 0:
            # A manager without a plan, such as one just restarted, confirms no plan.
            self._unplanned_s = time.monotonic()
        elif self._runtime is not None:
            self._runtime.hear_manager()

    def _take_plan(self, message: msg.PartitionPlan) -> None:
        if self._runtime is None or self.network is None:
            self._untried_plan = message
            return
        self._untried_plan = None
        card = self.network.card
        if fault := self._car.mismatch(message.car_id):
            self._refuse_plan(fault)
            return
        if message.model_id != card.model_id:
            self._refuse_plan(
                f"it is for model {message.model_id[:12]}, this head runs {card.name} "
                f"({card.model_id[:12]}): start the manager with the same model"
            )
            return
        plan = message_to_frame_plan(message)
        servers = plan.servers if plan.boundary else ()
        if unknown := [s.name[:64] for s in servers if s.name not in self._ports]:
            self._refuse_plan(
                f"it names the edge server {unknown[0]!r}, this head uses {list(self._ports)}: "
                "start head and manager with the same servers"
            )
            return
        try:
            self._runtime.set_plan(plan)
        except (GraphError, ConditionError) as error:
            self._refuse_plan(str(error))
            return
        self._permitted_plan = message
        for port in self._ports.values():
            port.set_most(message.max_in_flight)

    def _check_plan(self, plan: FramePlan) -> None:
        """Raise ConditionError if a plan breaks this head's own conditions."""
        assert self._measured is not None  # it exists before plans are handled
        breaches = self._conditions.breaches(
            self._measured,
            plan.exit_number,
            plan.boundary,
            plan.codec,
            plan.gate,
            plan.gate_threshold,
        )
        # Missing calibration is checked by the manager: a head only knows what the plan says.
        own = (Condition.KEEP_RAW_ON_CAR, Condition.QUALITY_FLOOR)
        if broken := tuple(breach for breach in breaches if breach.condition in own):
            raise ConditionError(f"plan {plan.epoch}", broken)

    def _refuse_plan(self, reason: str) -> None:
        if self.rejections.count(time.monotonic(), "plan", reason):
            self.get_logger().error(f"a plan is not used: {shortened(reason)}")

    def _load(self, arrived: ArrivedImage) -> NDArray[np.uint8]:
        assert self.network is not None  # the runtime does not outlive the network
        image = arrived.message
        read = compressed_to_rgb if isinstance(image, CompressedImage) else image_to_rgb
        try:
            return network_input(read(image), self.network.card.input_spec)
        except ImageError as error:
            raise FrameError(str(error)) from error

    def _announce(self, frame: HeadFrame) -> None:
        header = Header(stamp=self.get_clock().now().to_msg())
        self._ports[frame.server].announce(frame, header)

    def _publish(self, result: FrameResult) -> None:
        if self.network is not None:
            image, task = result.context.message, self.network.task
            placed = placement(source_size(image), self.network.card.input_spec)
            result = replace(result, answer=task.in_source(result.answer, placed.to_source))
            message = frame_result_to_message(result, image.header, task, self._car.car_id)
            file = camera_file(image)
            message.source_bytes = 0 if file is None else len(file)
            message.load_s = 0.0 if self._runtime is None else self._runtime.load_s
            self._results.publish(message)
            self._vision.publish(message)

    def _publish_ledger(self) -> None:
        if self._runtime is not None:
            self._ledgers.publish(
                ledger_to_message(
                    self._runtime.ledger(),
                    self._runtime.session,
                    self.get_clock().now().to_msg(),
                )
            )


def main() -> int:
    """Run the head node until it is stopped."""
    return run_nodes(lambda: [Head()], large_messages=True)
