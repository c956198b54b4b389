"""The live view: as a topic, as a page in the browser, and as a file at the end."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import Image

import dapdee_ros.msg as msg
from dapdee_ros.core.frames import Place
from dapdee_ros.estimation.health import Health, Level, Value
from dapdee_ros.estimation.rejections import Rejections
from dapdee_ros.exits.card import ModelCard, ModelFolderError, find_model, read_card
from dapdee_ros.files import FileError, require_place, write_whole
from dapdee_ros.nodes import qos
from dapdee_ros.nodes.conversions import objective_words
from dapdee_ros.nodes.images import ImageError, image_to_rgb, rgb_to_image
from dapdee_ros.nodes.live_server import Feed, LiveServer
from dapdee_ros.nodes.message_checks import link_fault, result_fault
from dapdee_ros.nodes.parameters import ParameterError, declare_settings, on_change
from dapdee_ros.nodes.picture import draw, draw_scene
from dapdee_ros.nodes.process import run_nodes
from dapdee_ros.nodes.process_settings import ViewerSettings
from dapdee_ros.nodes.run_view import RunView
from dapdee_ros.nodes.servers import ServerInUse
from dapdee_ros.nodes.shown import Answer, LinkPoint, TrueScene
from dapdee_ros.nodes.shown_scene import Box, boxes_of, map_of
from dapdee_ros.nodes.timers import every
from dapdee_ros.nodes.topics import listen_checking
from dapdee_ros.planning.sites import own_name
from dapdee_ros.tasks.classification import Classifier
from dapdee_ros.tasks.detection import Detector
from dapdee_ros.tasks.records import NO_ANSWER, Record, Records
from dapdee_ros.tasks.running_quality import RunningQuality
from dapdee_ros.tasks.task import Task, task_of

_REDRAW_S = 0.25
_LOOKED_S = 2.0
_PLANS_REMEMBERED = 100


class Viewer(Node):
    """Draws only while there are viewers; otherwise it only counts.

    Args:
        options: passed on to ``rclpy.node.Node``.

    Raises:
        ParameterError: if the model is given and cannot be read.
        ServerError: if the page cannot be served.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("viewer", **options)
        self.rejections = Rejections()
        self._server: LiveServer | None = None
        settings = declare_settings(self, ViewerSettings)
        snapshot, port = settings.snapshot_path, settings.http_port
        self._snapshot = Path(snapshot).expanduser() if snapshot else None
        try:
            if self._snapshot is not None:
                require_place(self._snapshot)
        except FileError as error:
            raise ParameterError(f"parameter snapshot_path: {error}") from error
        self._period_s = 1 / settings.max_rate_hz
        self._least_score = settings.least_score
        self._drawn_s = -math.inf
        self._looked_s = -math.inf
        card = _card(settings.model)
        self._labels = card.labels if card else ()
        self._task = task_of(card) if card else None
        self._view = _view_of(settings.deadline_s, card, self._task)
        self._in_use = ServerInUse()
        self._deadlines: dict[int, float] = {}
        self._frame_id = ""
        self._refused = ""
        self._images: Any = None
        self._scene, self._whole = Feed(), Feed()
        if port:
            self._server = LiveServer(
                settings.http_host,
                port,
                scene=self._scene,
                whole=self._whole,
                status=lambda: self._view.status(time.monotonic()),
            )
            taken = f" (port {port} is taken)" if self._server.port != port else ""
            self.get_logger().info(f"live view: {self._server.url}{taken}")
        self._annotated = self.create_publisher(Image, "annotated", qos.IMAGE)
        # First: a result is scored with the truth known at that time.
        listen_checking(
            self, msg.SceneTruth, "truth", self._take_truth, qos.RESULT, self.rejections
        )
        listen_checking(
            self,
            msg.InferenceResult,
            "inference",
            self._take_result,
            qos.RESULT,
            self.rejections,
            check=result_fault,
        )
        listen_checking(
            self, msg.PartitionPlan, "plan", self._take_plan, qos.LATCHED, self.rejections
        )
        listen_checking(
            self,
            msg.LinkQuality,
            "link_quality",
            self._take_link,
            qos.LINK,
            self.rejections,
            check=link_fault,
        )
        on_change(self, self._set_least_score)
        # Even without results there is something to show, and viewers to notice.
        every(self, _REDRAW_S, self._tick)
        self._tick()

    def diagnose(self, now_s: float) -> dict[str, Health]:
        """Task picture: WARN if images arrive that cannot be shown."""
        page = self._server.url if self._server else "no page"
        looked_at = now_s - self._looked_s < _LOOKED_S
        refused = sum(self.rejections.counts.values())
        values: dict[str, Value] = {"page": page, "looked_at": looked_at, "refused": refused}
        if self._refused:
            return {"picture": Health(Level.WARN, f"not shown: {self._refused}", values)}
        return {"picture": Health(Level.OK, page, values)}

    def _take_image(self, image: Image) -> None:
        try:
            picture = image_to_rgb(image)
        except ImageError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                self.get_logger().warning(f"not shown: {error}")
            return
        self._frame_id = image.header.frame_id
        if self._view.take_image(_key(image.header.stamp), picture):
            self._draw()

    def _take_truth(self, truth: msg.SceneTruth) -> None:
        shown = None if self._task is None else self._task.truth_in(truth)
        scene = TrueScene(
            label=truth.label or None,
            boxes=boxes_of(truth.boxes, truth.box_classes, (), truth.labels)
            if truth.objects_known
            else None,
            record=None if self._task is None or shown is None else self._task.record(shown),
        )
        self._view.take_truth(_key(truth.header.stamp), scene)

    def _take_result(self, result: msg.InferenceResult) -> None:
        place = Place.of(result.place)
        if result.status != msg.InferenceResult.STATUS_OK or place is None:
            return
        answer = Answer(
            label=result.label or "unnamed",
            score=float(result.score),
            truth=None,
            exit_number=result.exit,
            place=place.word,
            boundary=tuple(result.boundary),
            codec=result.codec,
            sent_bytes=result.sent_bytes,
            head_s=result.head_s,
            transfer_s=result.transfer_s,
            tail_s=result.tail_s,
            latency_s=result.latency_s,
            detail=result.detail,
            deadline_s=self._deadlines.get(result.plan_epoch),
            boxes=self._boxes_in(result),
            class_map=map_of(result.class_map, self._labels),
            record=NO_ANSWER if self._task is None else self._record_of(self._task, result),
            server=own_name(result.server) if place is Place.EDGE else "",
        )
        self._view.take_answer(_key(result.header.stamp), answer, time.monotonic())
        self._draw()

    def _set_least_score(self, changes: dict[str, Any]) -> None:
        self._least_score = changes.get("least_score", self._least_score)

    def _boxes_in(self, result: msg.InferenceResult) -> tuple[Box, ...] | None:
        # Without a model, only an answer with boxes tells that it is a detector's.
        if not result.box_scores and not isinstance(self._task, Detector):
            return None
        found = boxes_of(result.boxes, result.box_classes, result.box_scores, self._labels)
        return tuple(box for box in found if box.score >= self._least_score)

    @staticmethod
    def _record_of(task: Task, result: msg.InferenceResult) -> Record:
        record: Record = task.record(task.answer_in(result))
        return record

    def _take_plan(self, plan: msg.PartitionPlan) -> None:
        self._in_use.on_plan(plan)
        words = f"plan {plan.epoch}: {plan.reason}" if plan.reason else f"plan {plan.epoch}"
        # Frames that started under an earlier plan are judged by its deadline.
        if 0 < plan.deadline_s < math.inf:
            self._deadlines[plan.epoch] = plan.deadline_s
        if len(self._deadlines) > _PLANS_REMEMBERED:
            del self._deadlines[next(iter(self._deadlines))]
        self._view.take_plan(words, objective_words(plan), plan.deadline_s)

    def _take_link(self, link: msg.LinkQuality) -> None:
        if not self._in_use.is_of(link):
            return
        point = LinkPoint(time.monotonic(), link.uplink_bps, link.connected, link.rtt_s)
        self._view.take_link(point)

    def _subscribed(self) -> bool:
        return self._annotated.get_subscription_count() > 0

    def _tick(self) -> None:
        if self._scene.wanted() or self._whole.wanted() or self._subscribed():
            self._looked_s = time.monotonic()
        looked_at = time.monotonic() - self._looked_s < _LOOKED_S or self._snapshot is not None
        # Camera images are most of this process's input, so subscribe only if they will be seen.
        if looked_at and self._images is None:
            self._images = self.create_subscription(Image, "image_raw", self._take_image, qos.IMAGE)
        elif not looked_at and self._images is not None:
            self.destroy_subscription(self._images)
            self._images = None
            self._view.forget_images()
        if time.monotonic() - self._drawn_s > _REDRAW_S:
            self._draw()

    def _draw(self) -> None:
        now_s = time.monotonic()
        subscribed = self._subscribed()
        whole = subscribed or self._whole.wanted()
        if not (whole or self._scene.wanted()) or now_s - self._drawn_s < 0.9 * self._period_s:
            return
        self._drawn_s = now_s
        shown = self._view.shown(now_s)
        if self._scene.wanted():
            self._scene.offer(draw_scene(shown))
        if whole:
            picture = draw(shown)
            self._whole.offer(picture)
            if subscribed:
                stamp = Time(sec=shown.stamp[0], nanosec=shown.stamp[1]) if shown.stamp else Time()
                self._annotated.publish(rgb_to_image(picture, stamp, self._frame_id))

    def _write_snapshot(self, path: Path) -> None:
        import cv2

        shown = self._view.shown(time.monotonic(), as_last_answered=True)
        if shown.image is None and shown.answer is None:
            self.get_logger().warning(f"there was nothing to show, so {path} is not written")
            return
        png = cv2.imencode(".png", cv2.cvtColor(draw(shown), cv2.COLOR_RGB2BGR))[1]
        write_whole(path, png.tobytes())

    def destroy_node(self) -> None:
        """Write the last image, close the page, and end.

        Raises:
            FileError: if the image cannot be written.
        """
        try:
            if self._snapshot is not None:
                self._write_snapshot(self._snapshot)
        finally:
            self._snapshot = None
            if self._server is not None:
                self._server.close()
                self._server = None
            super().destroy_node()


def _key(stamp: Time) -> tuple[int, int]:
    return stamp.sec, stamp.nanosec


def _card(model: str) -> ModelCard | None:
    if not model:
        return None
    try:
        return read_card(find_model(model))
    except ModelFolderError as error:
        raise ParameterError(f"parameter model: {error}") from error


def _view_of(deadline_s: float, card: ModelCard | None, task: Task | None) -> RunView:
    if card is None or task is None:
        return RunView(deadline_s)
    # Of a classifier, right answers are counted one by one.
    judged = not isinstance(task, Classifier)
    quality = RunningQuality(Records(task.name, card.labels)) if judged else None
    return RunView(deadline_s, card.dag, quality, task.quality_name)


def main() -> int:
    """Start the viewer's process."""
    return run_nodes(lambda: [Viewer()], large_messages=True)
