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
from dapdee_ros.nodes.link import LinkEnd, link_end
from dapdee_ros.nodes.message_checks import result_fault
from dapdee_ros.nodes.parameters import declare_settings
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.servers import declare_servers, task_of_server
from dapdee_ros.nodes.timers import every
from dapdee_ros.nodes.topics import LEAN, listen_checking, listen_timed, publish_on
from dapdee_ros.planning.sites import EDGE
from dapdee_ros.runtime.cpu_wait import CpuWait
from dapdee_ros.sealing.channels import Role


class _Watcher:
    """Watches the link to one edge server.

    Attributes:
        link: this process's end of it.
        watch: what is known of it.
    """

    def __init__(self, node: LinkMonitor, link: LinkEnd, settings: LinkWatchSettings) -> None:
        self._node, self.link, self.watch = node, link, LinkWatch(settings)
        self._cpu_wait_at_sending_s: OrderedDict[int, float] = OrderedDict()
        self._probes = link.publisher("probe", msg.Probe, qos.PROBE)
        link.listen_timed("probe_echo", msg.Probe, self._take_echo, qos.PROBE, node.rejections)

    def handle(self, event: Event) -> None:
        """Take an event as of now, and do what follows from it."""
        now_s = time.monotonic()
        for action in self.watch.handle(now_s, event):
            if isinstance(action, SendProbe):
                self._send(now_s, action)
            elif isinstance(action, PublishLink):
                self._node.publish(action.estimate, self.link)
            elif self._node.rejections.count(now_s, "impossible report", action.reason):
                self._node.get_logger().warning(f"ignored: {action.reason}")

    def _take_echo(self, probe: msg.Probe, arrived_s: float) -> None:
        if probe.session == self._node.session:
            before_s = self._cpu_wait_at_sending_s.pop(probe.sequence, math.nan)
            waited_s = waited_since(before_s, self._node.cpu_wait.seconds())
            self.handle(EchoCame(probe.sequence, arrived_s, waited_s))

    def _send(self, now_s: float, action: SendProbe) -> None:
        probe = msg.Probe(
            car_id=self.link.car.car_id,
            session=self._node.session,
            sequence=action.sequence,
            sent_s=now_s,
            padding_bytes=action.padding_bytes,
        )
        probe.padding = bytes(action.padding_bytes)
        self._cpu_wait_at_sending_s[action.sequence] = self._node.cpu_wait.seconds()
        while len(self._cpu_wait_at_sending_s) > PROBES_REMEMBERED:
            self._cpu_wait_at_sending_s.popitem(last=False)
        self._probes.publish(probe)


class LinkMonitor(Node):
    """Sends probes, subscribes to their echoes and all results, publishes link_quality.

    Probes are timed here, frames by the head with this machine's monotonic clock, so every time is
    measured on one clock. Implausible values are refused. The link to each edge server is watched
    for itself.

    Attributes:
        links: the process's ends of the links, by server.
        rejections: the reports that were refused.
        session: the number that this monitor's probes carry.
        cpu_wait: how long this process has waited for a processor.
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
        self.session = secrets.randbits(32)
        self.rejections = Rejections()
        self.cpu_wait = CpuWait()
        self._qualities = publish_on(self, msg.LinkQuality, "link_quality", qos.LINK)
        self._watchers = {
            server: _Watcher(self, link_end(self, Role.MANAGER, server=server), settings)
            for server in declare_servers(self)
        }
        self.links: dict[str, LinkEnd] = {name: w.link for name, w in self._watchers.items()}
        for link in self.links.values() if relay else ():
            link.relay("edge/profile", msg.DeviceProfile, qos.LATCHED)
            link.relay("edge/load", msg.NodeLoad, qos.STATE)
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
        every(self, settings.check_period_s, self._check)

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Tasks link and seal (per server, if there are several), and refused."""
        found = {"refused": self.rejections.health(now_s)}
        for server, watcher in self._watchers.items():
            of_link = link_health(watcher.watch.estimate(now_s))
            for task, health in {"link": of_link, **watcher.link.diagnose(now_s)}.items():
                found[task_of_server(task, server)] = health
        return found

    def destroy_node(self) -> None:
        """End the links, then the node."""
        for link in self.links.values():
            link.close()
        self.cpu_wait.close()
        super().destroy_node()

    def take_result(self, result: msg.InferenceResult) -> None:
        """Learn from a result: how long its tensors took, or that no answer came."""
        watcher = self._watchers.get(result.server or EDGE)
        if watcher is None:
            return
        frame = (result.session, result.frame_number)
        sent_s, sent_bytes = result.sent_echo_s, result.sent_bytes
        if result.place == msg.InferenceResult.PLACE_EDGE:
            times_s = (result.transfer_s, result.residence_s, result.cpu_wait_s)
            watcher.handle(FrameAnswered(frame, sent_s, sent_bytes, *times_s))
        else:
            watcher.handle(FrameEndedHere(frame, sent_s, sent_bytes))

    def publish(self, new: LinkEstimate, link: LinkEnd) -> None:
        """Say what is believed of a link now."""
        self._qualities.publish(
            msg.LinkQuality(
                header=Header(stamp=self.get_clock().now().to_msg()),
                car_id=link.car.car_id,
                server=link.server,
                uplink_bps=new.uplink_bps,
                rtt_s=new.rtt_s,
                loss_ratio=new.loss_ratio,
                connected=new.connected,
                age_s=new.age_s,
                uplink_spread=new.relative_spread,
                measurements=new.measurements,
            )
        )

    def _check(self) -> None:
        for watcher in self._watchers.values():
            watcher.handle(TimePassed())

    def _take_unused(self, answer: msg.InferenceResult, arrived_s: float) -> None:
        watcher = self._watchers.get(answer.server or EDGE)
        if watcher is None:
            return
        frame = (answer.session, answer.frame_number)
        sent_s, sent_bytes = answer.sent_echo_s, answer.sent_bytes
        times_s = (answer.residence_s, arrived_s, answer.cpu_wait_s)
        watcher.handle(AnswerUnused(frame, sent_s, sent_bytes, *times_s))


def main() -> int:
    """Run the link monitor alone."""
    return run_nodes(lambda: [LinkMonitor()])
