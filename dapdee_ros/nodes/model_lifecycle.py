"""What head and edge share: a lifecycle node that holds a model while it is configured."""

from __future__ import annotations

import gc
import math
import os
import time
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

import dapdee_ros.msg as msg
from dapdee_ros.codecs.bottleneck.file import BottleneckError
from dapdee_ros.engines.engine import EngineError, warm_up
from dapdee_ros.engines.slow_engine import SlowEngine, slowed_down
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.exits.card import ModelFolderError, find_model
from dapdee_ros.graph.dag import GraphError
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.car import Car
from dapdee_ros.nodes.conversions import profile_to_message
from dapdee_ros.nodes.link import LinkEnd, OpenEnd, link_end
from dapdee_ros.nodes.measured_profile import measured_profile
from dapdee_ros.nodes.model_settings import ModelSettings
from dapdee_ros.nodes.parameters import declare_settings
from dapdee_ros.planning.errors import ProfileError
from dapdee_ros.planning.sites import CAR, EDGE
from dapdee_ros.runtime.split_network import ModelPrograms, SplitNetwork
from dapdee_ros.sealing.channels import CHANNELS, Role
from dapdee_ros.tasks.task import task_of

NOT_ACTIVE = (
    "not active: the reason is in this node's log; then ros2 lifecycle set <node> configure and "
    "activate"
)
"""The diagnostics of a lifecycle node that is not active."""


class ModelLifecycleNode(LifecycleNode):
    """Loads a model and profiles it on configure, frees it on cleanup.

    Subclasses define what happens with it on activate and deactivate.

    Attributes:
        MODEL_SETTINGS: class of the settings that say which, and what computes it.
        network: the model with the profile of what computes it; None unless configured.
        rejections: the messages that were refused.
        links: this process's ends of the link, one per car or per edge server.
        draining: whether it takes no more frames, as its profile says.
    """

    MODEL_SETTINGS: type[ModelSettings] = ModelSettings

    def __init__(self, name: str, profile_topic: str, role: Role) -> None:
        super().__init__(name)
        declare_settings(self, self.MODEL_SETTINGS)
        _survive_wrong_transitions(self)
        self.network: ModelPrograms | None = None
        self.rejections = Rejections()
        self.draining = False
        self.links = [link_end(self, role, car, server) for car, server in self._peers()]
        self._profile_topic = profile_topic
        self._side = EDGE if role is Role.EDGE else CAR
        # Topics that stay on the car do not cross the link.
        self._profile_ends = self.links if profile_topic in CHANNELS else [OpenEnd(self)]
        self._profile_publishers: list[tuple[LinkEnd, Any]] = []

    def _peers(self) -> list[tuple[Car | None, str]]:
        """The cars and servers to link; None: the car in whose namespace this runs."""
        return [(None, EDGE)]

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and profile it, or log why that is impossible."""
        started_s = time.monotonic()
        threads = self.get_parameter("threads").value or max(1, (os.cpu_count() or 1) // 2)
        slowdown = self.get_parameter("emulated_slowdown").value
        if slowdown > 1:
            self.get_logger().warning(f"emulating a processor {slowdown:g} times slower")
        try:
            network = self.network = self.load_network(threads, slowdown)
        except (
            BottleneckError, EngineError, GraphError, ModelFolderError, ProfileError,
        ) as error:  # fmt: skip
            self.get_logger().error(f"cannot use the model: {error}")
            return TransitionCallbackReturn.FAILURE
        for end in self._profile_ends:
            publisher = end.publisher(self._profile_topic, msg.DeviceProfile, qos.LATCHED)
            self._profile_publishers.append((end, publisher))
        self.publish_profile()
        card, profile = network.card, network.profile
        whole_s = profile.total_s if profile is not None else math.nan
        self.get_logger().info(
            f"model {card.name} ({card.model_id[:12]}), {len(card.dag.exits)} exits, loaded in "
            f"{time.monotonic() - started_s:.1f} s; the whole network takes {1e3 * whole_s:.1f} ms "
            f"on {threads} thread(s) with {network.computed_by}"
        )
        return TransitionCallbackReturn.SUCCESS

    def load_network(self, threads: int, slowdown: float) -> ModelPrograms:
        """Load the model for an engine of this process, and measure it.

        Args:
            threads: threads that compute.
            slowdown: factor on all times, to emulate a slower machine; 1: none.

        Raises:
            ModelFolderError, BottleneckError, GraphError: if the model cannot be used.
            EngineError: if nothing here can compute it.
            ProfileError: if it cannot be measured.
        """
        # Here, not above: an import of torch takes a second, and --help needs none.
        from dapdee_ros.exits.runnable import load_runnable

        model = load_runnable(
            find_model(self.get_parameter("model").value),
            self.get_parameter("engine").value,
            threads=threads,
            provider=self.get_parameter("execution_provider").value,
        )
        task_of(model.card)  # complains of options that do not fit
        profile = measured_profile(model, threads, self._side)
        warm_up(model.engine)
        engine = model.engine
        if slowdown > 1:
            engine, profile = SlowEngine(engine, slowdown), slowed_down(profile, slowdown)
        return SplitNetwork(model, profile, engine)

    def free_network(self) -> None:
        """Let the model go."""
        self.network = None

    def publish_profile(self) -> None:
        """Tell the other side this machine's profile; nothing if there is none."""
        if self.network is None or self.network.profile is None:
            return
        stamp = self.get_clock().now().to_msg()
        for end, publisher in self._profile_publishers:
            profile, car_id = self.network.profile, end.car.car_id
            publisher.publish(profile_to_message(profile, stamp, car_id, draining=self.draining))

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self.free_network()
        for end, publisher in self._profile_publishers:
            end.end_publisher(publisher)
        self._profile_publishers = []
        gc.collect()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything, from any state."""
        self.stop_runtime()
        return self.on_cleanup(state)

    def stop_runtime(self) -> None:
        """End the inference thread, if there is one."""
        raise NotImplementedError

    def destroy_node(self) -> None:
        """End the inference thread, then the node."""
        self.stop_runtime()
        self.free_network()
        for end in self.links:
            end.close()
        super().destroy_node()


def _survive_wrong_transitions(node: LifecycleNode) -> None:
    """Refuse a request for a transition that the current state does not have.

    rclpy lets the error escape from the service's callback, which ends the process: a second
    activate from anywhere on the network would stop the car.
    """
    (service,) = (s for s in node.services if s.service_name.endswith("/change_state"))
    change_state = service.callback

    def guarded(request: ChangeState.Request, response: ChangeState.Response) -> Any:
        try:
            return change_state(request, response)
        except RuntimeError as error:
            node.get_logger().warning(f"transition {request.transition.id} refused: {error}")
            response.success = False
            return response

    service.callback = guarded
