"""The node that measures the link: LinkQuality from answered frames and probes. No torch."""

from __future__ import annotations

import math
import secrets
import time
from collections import OrderedDict

from rclpy.node import Node
from std_msgs.msg import Header

import dapdee_ros.msg as msg
from dapdee_ros.core.link_watch import (
    PROBES_REMEMBERED,
    AnswerUnused,
    EchoCame,
    Event,
    FrameAnswered,
    FrameEndedHere,
    LinkWatch,
    LinkWatchSettings,
    PublishLink,
    SendProbe,
    TimePassed,
)
from dapdee_ros.estimation.car_health import link_health
from dapdee_ros.estimation.frame_delay import waited_since
from dapdee_ros.estimation.health import Health
from dapdee_ros.estimation.link import LinkEstimate
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.link import link_end
from dapdee_ros.nodes.message_checks import result_fault
from dapdee_ros.nodes.parameters import declare_settings
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.timers import every
from dapdee_ros.nodes.topics import LEAN, listen_checking, listen_timed, publish_on
from dapdee_ros.runtime.cpu_wait import CpuWait
from dapdee_ros.sealing.channels import Role


class LinkMonitor(Node):
    """Sends probes, subscribes to their echoes and all results, publishes link_quality.

    Probes are timed here, frames by the head with this machine's monotonic clock, so every time is
    measured on one clock. Implausible values are refused.

    Attributes:
        link: the process's end of the link.
    """

    def __init__(self, hear_results: bool = True, relay: bool = True) -> None:
        """Create the node.

        Args:
            hear_results: subscribe to the results; False if the owner calls ``take_result``.
            relay: relay the edge's messages on this machine; False if another node of this process
                does.
        """
        super().__init__("link_monitor", parameter_overrides=LEAN)
        settings = declare_settings(self, LinkWatchSettings)
        self._watch = LinkWatch(settings)
        self._session = secrets.randbits(32)
        self.rejections = Rejections()
        self._cpu_wait = CpuWait()
        self._cpu_wait_at_sending_s: OrderedDict[int, float] = OrderedDict()
        self._qualities = publish_on(self, msg.LinkQuality, "link_quality", qos.STATE)
        self.link = link_end(self, Role.MANAGER)
        self._probes = self.link.publisher("probe", msg.Probe, qos.PROBE)
        self.link.listen_timed("probe_echo", msg.Probe, self._take_echo, qos.PROBE, self.rejections)
        if relay:
            self.link.relay("edge/profile", msg.DeviceProfile, qos.LATCHED)
            self.link.relay("edge/load", msg.NodeLoad, qos.STATE)
        # Not edge_result itself: the link would carry a second copy of every answer.
        listen_timed(
            self,
            msg.InferenceResult,
            "unused_answer",
            self._take_unused,
            qos.RESULT,
            self.rejections,
            check=result_fault,
        )
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
        every(self, settings.check_period_s, lambda: self._handle(TimePassed()))

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Tasks link, seal and refused."""
        return {
            "link": link_health(self._watch.estimate(now_s)),
            **self.link.diagnose(now_s),
            "refused": self.rejections.health(now_s),
        }

    def destroy_node(self) -> None:
        """End the link, then the node."""
        self.link.close()
        self._cpu_wait.close()
        super().destroy_node()

    def take_result(self, result: msg.InferenceResult) -> None:
        """Learn from a result: how long its tensors took, or that no answer came."""
        frame = (result.session, result.frame_number)
        sent_s, sent_bytes = result.sent_echo_s, result.sent_bytes
        if result.place == msg.InferenceResult.PLACE_EDGE:
            times_s = (result.transfer_s, result.residence_s, result.cpu_wait_s)
            self._handle(FrameAnswered(frame, sent_s, sent_bytes, *times_s))
        else:
            self._handle(FrameEndedHere(frame, sent_s, sent_bytes))

    def _take_unused(self, answer: msg.InferenceResult, arrived_s: float) -> None:
        frame = (answer.session, answer.frame_number)
        sent_s, sent_bytes = answer.sent_echo_s, answer.sent_bytes
        times_s = (answer.residence_s, arrived_s, answer.cpu_wait_s)
        self._handle(AnswerUnused(frame, sent_s, sent_bytes, *times_s))

    def _take_echo(self, probe: msg.Probe, arrived_s: float) -> None:
        if probe.session == self._session:
            before_s = self._cpu_wait_at_sending_s.pop(probe.sequence, math.nan)
            waited_s = waited_since(before_s, self._cpu_wait.seconds())
            self._handle(EchoCame(probe.sequence, arrived_s, waited_s))

    def _handle(self, event: Event) -> None:
        now_s = time.monotonic()
        for action in self._watch.handle(now_s, event):
            if isinstance(action, SendProbe):
                self._send(now_s, action)
            elif isinstance(action, PublishLink):
                self._publish(action.estimate)
            elif self.rejections.count(now_s, "impossible report", action.reason):
                self.get_logger().warning(f"ignored: {action.reason}")

    def _send(self, now_s: float, action: SendProbe) -> None:
        probe = msg.Probe(
            car_id=self.link.car.car_id,
            session=self._session,
            sequence=action.sequence,
            sent_s=now_s,
            padding_bytes=action.padding_bytes,
        )
        probe.padding = bytes(action.padding_bytes)
        self._cpu_wait_at_sending_s[action.sequence] = self._cpu_wait.seconds()
        while len(self._cpu_wait_at_sending_s) > PROBES_REMEMBERED:
            self._cpu_wait_at_sending_s.popitem(last=False)
        self._probes.publish(probe)

    def _publish(self, new: LinkEstimate) -> None:
        self._qualities.publish(
            msg.LinkQuality(
                header=Header(stamp=self.get_clock().now().to_msg()),
                car_id=self.link.car.car_id,
                uplink_bps=new.uplink_bps,
                rtt_s=new.rtt_s,
                loss_ratio=new.loss_ratio,
                connected=new.connected,
                age_s=new.age_s,
                uplink_spread=new.relative_spread,
                measurements=new.measurements,
            )
        )


def main() -> int:
    """Run the link monitor alone."""
    return run_nodes(lambda: [LinkMonitor()])
