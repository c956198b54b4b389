"""The edge's node: finishes what the head of a car began."""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

import dapdee_ros.msg as msg
from dapdee_ros.core.frames import TailAnswer
from dapdee_ros.estimation.health import Health, Level
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.conversions import message_to_head_frame, tail_answer_to_message
from dapdee_ros.nodes.model_lifecycle import NOT_ACTIVE, ModelLifecycleNode
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.runtime.health import EdgeHealth
from dapdee_ros.runtime.tail import TailRuntime
from dapdee_ros.sealing.channels import Role


class Edge(ModelLifecycleNode):
    """Subscribes head_tensor and probe, publishes edge_result and probe_echo."""

    def __init__(self) -> None:
        super().__init__("edge", "edge/profile", Role.EDGE)
        self._runtime: TailRuntime | None = None
        self._handles: list[Any] = []
        self._results: Any = None
        self._health = EdgeHealth()
        self._echoes = self.link.publisher("probe_echo", msg.Probe, qos.PROBE)
        self.link.listen("probe", msg.Probe, self._echo, qos.PROBE, self.rejections)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start to take frames."""
        if self.network is None:
            return TransitionCallbackReturn.FAILURE
        reliable = self.get_parameter("reliable").value
        # The load monitor on this machine listens as well.
        self._results = self.link.publisher(
            "edge_result", msg.InferenceResult, qos.tensor_qos(reliable, 10), here_too=True
        )
        self._runtime = TailRuntime(self.network, self._answer, rejections=self.rejections)
        self._runtime.start()
        self._handles = [
            self.link.listen(
                "head_tensor",
                msg.HeadTensor,
                self._take,
                qos.tensor_qos(reliable, 2),
                self.rejections,
            )
        ]
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop to take frames; the one in work is still answered."""
        self.stop_runtime()
        return super().on_deactivate(state)

    def stop_runtime(self) -> None:
        """End the inference thread, if there is one."""
        for handle in self._handles:
            self.link.end_subscription(handle)
        self._handles = []
        if self._runtime is not None:
            runtime, self._runtime = self._runtime, None
            runtime.stop()
            refused = sum(runtime.refused.values())
            self.get_logger().info(f"{runtime.computed} frames answered, {refused} refused")
            self.link.end_publisher(self._results)

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Tasks edge, refused and seal."""
        common = {"refused": self.rejections.health(now_s), **self.link.diagnose(now_s)}
        if self._runtime is None or self.network is None:
            return {"edge": Health(Level.STALE, NOT_ACTIVE, {}), **common}
        runtime, card = self._runtime, self.network.model.card
        refused = {status.name.lower(): n for status, n in runtime.refused.items()}
        return {
            "edge": self._health.judge(
                now_s,
                runtime.computed,
                refused,
                runtime.queue_depth,
                f"{card.name} ({card.model_id[:12]})",
            ),
            **common,
        }

    def _take(self, message: msg.HeadTensor) -> None:
        runtime = self._runtime  # the link's thread may bring this while another one stops it
        if runtime is not None:
            runtime.submit(message_to_head_frame(message))

    def _answer(self, answer: TailAnswer) -> None:
        if self.network is not None:
            self._results.publish(tail_answer_to_message(answer, self.network.model.card))

    def _echo(self, probe: msg.Probe) -> None:
        if self._runtime is None:
            return  # a link to an edge that takes no frames is of no use to the planner
        probe.padding = b""
        self._echoes.publish(probe)


def main() -> int:
    """Run the edge node until it is told to stop."""
    return run_nodes(lambda: [Edge()])
