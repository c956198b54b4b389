"""The camera: publishes frames of a source as ``image_raw`` and what they show as ``truth``."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from dapdee_ros.datasets.frame_source import FrameSource, SourceError
from dapdee_ros.datasets.frame_sources import open_source
from dapdee_ros.estimation.health import Health, Level
from dapdee_ros.estimation.presence import Presence
from dapdee_ros.msg import FrameLedger, InferenceResult, SceneTruth
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.ending import StopProcess
from dapdee_ros.nodes.images import frame_to_compressed, frame_to_image
from dapdee_ros.nodes.parameters import declare_settings, on_change
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.process_settings import USUAL_RATE_HZ, CameraSettings
from dapdee_ros.nodes.timers import every
from dapdee_ros.nodes.topics import listen_to
from dapdee_ros.runtime.health import CameraHealth
from dapdee_ros.tasks.truth import truth_fields


class CameraNode(Node):
    """Publishes a frame at every tick of its timer.

    Args:
        options: passed on to ``rclpy.node.Node``.

    Raises:
        SourceError: if the source cannot be opened.
        ParameterError: if there is no such source.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("camera", **options)
        self._source: FrameSource | None = None
        self._published = 0
        self._ended = self._failure = ""
        self._health = CameraHealth()
        settings = declare_settings(self, CameraSettings)
        kind = settings.source
        self._frame_id = settings.frame_id
        self._exit_at_end = settings.exit_at_end
        self._waiting, self._warm_up_s = settings.wait_for_subscriber, settings.warm_up_s
        self._begin_s = time.monotonic() + self._warm_up_s
        if kind == "none":
            self.get_logger().info("source none: expecting another driver to publish image_raw")
            return
        self._source = open_source(
            kind,
            path=settings.path,
            device=settings.device,
            size=(settings.height, settings.width),
            rate_hz=settings.rate_hz,
            loop=settings.loop,
            seed=settings.seed,
            labels=[label for label in settings.labels if label],
            files=settings.image_transport == "compressed",
        )
        self._as_files = settings.image_transport == "compressed"
        topic = self.resolve_topic_name("image_raw")
        self._images = (
            self.create_publisher(CompressedImage, f"{topic}/compressed", qos.IMAGE)
            if self._as_files
            else self.create_publisher(Image, topic, qos.IMAGE)
        )
        self._head = Presence("head", "ros2 run dapdee_ros head", time.monotonic(), needed=False)
        for kind, topic, profile in (
            (InferenceResult, "inference", qos.RESULT),
            (FrameLedger, "ledger", qos.LATCHED),
        ):
            # Raw bytes will do: only their arrival matters.
            listen_to(self, kind, topic, self._hear_head, profile, raw=True)
        self._truths = self.create_publisher(SceneTruth, "truth", qos.RESULT)
        period_s = self._period_s(settings.rate_hz)
        self._timer = every(self, period_s, partial(self._tick, self._source))
        on_change(self, self._set_rate)
        start = ", once somebody subscribes to them" if self._waiting else ""
        self.get_logger().info(f"{self._source.description}, at {1 / period_s:.4g} frames/s{start}")

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Tasks camera and head: whether the head that took its images is still running."""
        if self._source is None:
            return {"camera": Health(Level.OK, "another driver publishes image_raw", {})}
        return {
            "camera": self._health.judge(
                now_s,
                self._published,
                wanted_hz=1e9 / self._timer.timer_period_ns,
                waiting=self._waiting,
                ended=self._ended,
                failure=self._failure,
                source=self._source.description,
            ),
            "head": self._head.health(now_s),
        }

    def _hear_head(self, _data: bytes) -> None:
        self._head.on_sign(time.monotonic())

    def _period_s(self, rate_hz: float) -> float:
        own = self._source.rate_hz if self._source else None
        return 1 / (rate_hz or own or USUAL_RATE_HZ)

    def _set_rate(self, changes: dict[str, Any]) -> None:
        if "rate_hz" in changes:
            self._timer.timer_period_ns = round(1e9 * self._period_s(changes["rate_hz"]))
            self._timer.reset()

    def _tick(self, source: FrameSource) -> None:
        now_s = time.monotonic()
        if self._waiting:
            if self._images.get_subscription_count() == 0:
                return
            self._waiting, self._begin_s = False, now_s + self._warm_up_s
        if now_s < self._begin_s:
            return
        try:
            frame = next(source)
        except StopIteration:
            self._end(f"the source has ended after {self._published} frames")
            return
        except SourceError as error:
            self._end(str(error), failed=True)
            return
        if frame is None:
            return
        stamp = self.get_clock().now().to_msg()
        if frame.truth is not None:
            # Before the image, so that subscribers know the truth when the result arrives.
            truth = SceneTruth(**truth_fields(frame.truth, source.labels, source.surfaces))
            truth.header.stamp = stamp
            truth.header.frame_id = self._frame_id
            self._truths.publish(truth)
        to_message = frame_to_compressed if self._as_files else frame_to_image
        self._images.publish(to_message(frame, stamp, self._frame_id))
        self._published += 1

    def _end(self, why: str, failed: bool = False) -> None:
        self._timer.cancel()
        if failed:
            self._failure = f"{why}; no more frames are published"
            self.get_logger().error(self._failure)
        else:
            self._ended = why
            self.get_logger().info(why)
        if self._exit_at_end:
            raise StopProcess(1 if failed else 0)

    def destroy_node(self) -> None:
        """Release the device or file, and end."""
        if self._source is not None:
            self._source.close()
        super().destroy_node()


def main() -> int:
    """Start the camera's process."""
    return run_nodes(lambda: [CameraNode()], large_messages=True)
