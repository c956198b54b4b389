"""The node that knows the link: from answered frames and probes to LinkQuality. No torch."""

from __future__ import annotations

import math
import secrets
import time
from collections import OrderedDict, deque

from rclpy.node import Node
from std_msgs.msg import Header

import dapdee_ros.msg as msg
from dapdee_ros.estimation.car_health import link_health
from dapdee_ros.estimation.credible import transfer_fault, wait_fault
from dapdee_ros.estimation.health import Health
from dapdee_ros.estimation.link import LinkEstimate, LinkEstimator, LinkSettings
from dapdee_ros.estimation.probes import ProbeSchedule, ProbeSettings
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.link import link_end
from dapdee_ros.nodes.message_checks import result_fault
from dapdee_ros.nodes.parameters import declare
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.timers import every
from dapdee_ros.nodes.topics import LEAN, listen_checking, listen_timed, publish_on
from dapdee_ros.sealing.channels import Role

FRAME_HEADER_BYTES = 250
"""What a HeadTensor takes beside its data: header, model id, one or two tensor specs."""

_ANSWERS_REMEMBERED = 64
_PROBES_REMEMBERED = 64
# Less than this changes no plan, and every publication costs the whole car's side something.
_LEAST_RATE_CHANGE = 0.05
_LEAST_RTT_CHANGE = 0.2


class LinkMonitor(Node):
    """Sends probes, subscribes their echoes and all results, publishes link_quality.

    Probes are timed here, frames by the head with this machine's monotonic clock, so every time is
    measured on one clock. What comes back is believed only as far as it can be.

    Attributes:
        link: the process's end of the link.
    """

    def __init__(self, hear_results: bool = True, relay: bool = True) -> None:
        """Create the node.

        Args:
            hear_results: subscribe the results; False if somebody calls ``take_result``.
            relay: let this machine hear what the edge says; False if somebody else of this process
                does.
        """
        super().__init__("link_monitor", parameter_overrides=LEAN)
        link, probes = LinkSettings(), ProbeSettings()
        silence_s = declare(
            self,
            "silence_s",
            link.silence_s,
            "Silence after which the link counts as dead, in seconds, on top of twice the time "
            "that what is on its way should take.",
            bounds=(0.1, 10.0),
        )
        period_s = declare(
            self,
            "check_period_s",
            0.2,
            "Seconds between two looks at whether a probe is due or the link went silent.",
            bounds=(0.02, 1.0),
        )
        share = declare(
            self,
            "probe_share",
            probes.share,
            "Most of the link's rate that probes may take.",
            bounds=(0.001, 0.1),
        )
        most = declare(
            self,
            "probe_most_bytes_per_s",
            probes.most_bytes_per_s,
            "Most bytes a second that probes may take, whatever the rate.",
            bounds=(100.0, 1e5),
        )
        self._publish_period_s = declare(
            self,
            "publish_period_s",
            1.0,
            "Seconds after which the estimate is published even if it has not changed.",
            bounds=(0.1, 60.0),
        )
        self._estimator = LinkEstimator(LinkSettings(silence_s=silence_s))
        self._schedule = ProbeSchedule(ProbeSettings(share=share, most_bytes_per_s=most))
        self._session = secrets.randbits(32)
        self._sequence = 0
        self.rejections = Rejections()
        self._sent: OrderedDict[int, tuple[float, int]] = OrderedDict()
        self._answered: deque[tuple[int, int]] = deque(maxlen=_ANSWERS_REMEMBERED)
        self._last: LinkEstimate | None = None
        self._published_s = -math.inf
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
        every(self, period_s, self._check)

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Tasks link, seal and refused."""
        return {
            "link": link_health(self._estimator.estimate(now_s)),
            **self.link.diagnose(now_s),
            "refused": self.rejections.health(now_s),
        }

    def destroy_node(self) -> None:
        """End the link, then the node."""
        self.link.close()
        super().destroy_node()

    def take_result(self, result: msg.InferenceResult) -> None:
        """Learn from a result: how long its tensors took, or that no answer came."""
        if result.place == msg.InferenceResult.PLACE_EDGE:
            self._note_transfer(result, result.transfer_s)
            return
        key = (result.session, result.frame_number)
        if not result.sent_bytes or key in self._answered:
            return  # nothing was sent, or the edge did answer, only not in time or with a refusal
        now = time.monotonic()
        if fault := wait_fault(now, result.sent_echo_s, result.sent_bytes):
            self._refuse("result", fault)
            return
        self._estimator.on_unanswered(
            now, result.sent_bytes + FRAME_HEADER_BYTES, now - result.sent_echo_s, key
        )
        self._publish(now)

    def _take_unused(self, answer: msg.InferenceResult, arrived_s: float) -> None:
        """Learn from an answer that came too late, or that refused its frame."""
        if self._note_transfer(answer, arrived_s - answer.sent_echo_s - answer.residence_s):
            self._answered.append((answer.session, answer.frame_number))

    def _note_transfer(self, answer: msg.InferenceResult, transfer_s: float) -> bool:
        """Learn from an answer; returns whether it can be."""
        now, sent_s, residence_s = time.monotonic(), answer.sent_echo_s, answer.residence_s
        if fault := transfer_fault(now, sent_s, transfer_s, residence_s, answer.sent_bytes):
            self._refuse("answer", fault)
            return False
        arrived_s = min(now, sent_s + transfer_s + residence_s)
        self._schedule.on_answer(arrived_s)
        self._estimator.on_transfer(
            now,
            answer.sent_bytes + FRAME_HEADER_BYTES,
            transfer_s,
            residence_s,
            (answer.session, answer.frame_number),
            arrived_s=arrived_s,
        )
        self._publish(now)
        return True

    def _refuse(self, what: str, fault: str) -> None:
        if self.rejections.count(time.monotonic(), "impossible report", f"{what}: {fault}"):
            self.get_logger().warning(f"ignored: {what}: {fault}")

    def _take_echo(self, probe: msg.Probe, arrived_s: float) -> None:
        if probe.session != self._session:
            return
        # Of an echo only its number is believed, and once: when the probe was sent, and how large
        # it was, is known here.
        sent = self._sent.pop(probe.sequence, None)
        if sent is None:
            return
        sent_s, padding_bytes = sent
        now = time.monotonic()
        arrived_s = min(arrived_s, now)
        self._estimator.on_probe(
            now,
            arrived_s - sent_s,
            padding_bytes,
            ("probe", probe.sequence),
            arrived_s=arrived_s,
        )
        # Not only published: what it leaves in doubt is measured again at once.
        self._check()

    def _check(self) -> None:
        now = time.monotonic()
        padding = self._schedule.due(now, self._estimator.estimate(now))
        if padding is not None:
            self._sequence += 1
            self._estimator.on_sent(now, padding, ("probe", self._sequence))
            self._sent[self._sequence] = (now, padding)
            while len(self._sent) > _PROBES_REMEMBERED:
                self._sent.popitem(last=False)
            probe = msg.Probe(
                session=self._session,
                sequence=self._sequence,
                sent_s=now,
                padding_bytes=padding,
            )
            probe.padding = bytes(padding)
            self._probes.publish(probe)
        self._publish(now)

    def _publish(self, now: float) -> None:
        """Publish the estimate if it says anything new."""
        new, old = self._estimator.estimate(now), self._last
        if (
            old is not None
            and now - self._published_s < self._publish_period_s
            and new.connected == old.connected
            and not _differs(new.uplink_bps, old.uplink_bps, _LEAST_RATE_CHANGE)
            and not _differs(new.rtt_s, old.rtt_s, _LEAST_RTT_CHANGE)
        ):
            return
        self._last, self._published_s = new, now
        self._qualities.publish(
            msg.LinkQuality(
                header=Header(stamp=self.get_clock().now().to_msg()),
                uplink_bps=new.uplink_bps,
                rtt_s=new.rtt_s,
                loss_ratio=new.loss_ratio,
                connected=new.connected,
                age_s=new.age_s,
                uplink_spread=new.relative_spread,
                measurements=new.measurements,
            )
        )


def _differs(new: float, old: float, least: float) -> bool:
    if math.isnan(new) or math.isnan(old):
        return math.isnan(new) != math.isnan(old)
    return abs(new - old) > least * abs(old)


def main() -> int:
    """Run the link monitor alone."""
    return run_nodes(lambda: [LinkMonitor()])
