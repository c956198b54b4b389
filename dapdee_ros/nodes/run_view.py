"""The current state of a run, gathered from its messages. No ROS here."""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict, deque
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

from dapdee_ros.graph.dag import GraphError, ModelDag
from dapdee_ros.nodes.drawing import Picture
from dapdee_ros.nodes.shown import HISTORY_S, OLD_S, Answer, LinkPoint, Shown, Stamp, TrueScene
from dapdee_ros.tasks.records import NO_ANSWER
from dapdee_ros.tasks.running_quality import RunningQuality

_POINT_EVERY_S = 0.4
_TRUTHS_REMEMBERED = 500
_IMAGES_REMEMBERED = 32
_IMAGE_BYTES_REMEMBERED = 64_000_000


class RunView:
    """Gathers what the live view shows; thread-safe.

    Args:
        deadline_s: deadline until a plan has another, in s.
        dag: the model, to show how much of it runs on the car; None if it is unknown.
        quality: judges answers that are not right or wrong as a whole; None if nobody asks.
        quality_name: what the task calls its quality.
    """

    def __init__(
        self,
        deadline_s: float,
        dag: ModelDag | None = None,
        quality: RunningQuality | None = None,
        quality_name: str = "",
    ) -> None:
        self._lock = threading.Lock()
        self._dag = dag
        self._shares: dict[tuple[int, tuple[str, ...]], float | None] = {}
        self._images: OrderedDict[Stamp, Picture] = OrderedDict()
        self._truths: OrderedDict[Stamp, TrueScene] = OrderedDict()
        self._quality, self._quality_name = quality, quality_name
        self._links: deque[LinkPoint] = deque()
        self._places: Counter[str] = Counter()
        self._answered_s = -math.inf
        self._answered_image: Picture | None = None
        self._waiting: tuple[Stamp, Answer, float] | None = None
        self._right = self._judged = self._missed = 0
        self._shown = Shown(deadline_s=deadline_s, exits=len(dag.exits) if dag else 0)

    def take_image(self, stamp: Stamp, image: Picture) -> bool:
        """Store an image until its answer arrives.

        Returns:
            Whether the answer arrived first, so that there is something new to show.
        """
        with self._lock:
            self._images[stamp] = image
            found = self._waiting is not None and self._waiting[0] == stamp
            if self._waiting is not None and found:
                self._show(*self._waiting)
            held = sum(picture.nbytes for picture in self._images.values())
            while len(self._images) > 1 and (
                len(self._images) > _IMAGES_REMEMBERED or held > _IMAGE_BYTES_REMEMBERED
            ):
                held -= self._images.popitem(last=False)[1].nbytes
            return found

    def forget_images(self) -> None:
        """Free the memory of images that nobody is viewing."""
        with self._lock:
            self._images.clear()
            self._answered_image = None
            self._waiting = None

    def take_truth(self, stamp: Stamp, truth: TrueScene) -> None:
        """Store an image's ground truth."""
        with self._lock:
            self._truths[stamp] = truth
            if len(self._truths) > _TRUTHS_REMEMBERED:
                self._truths.popitem(last=False)

    def take_answer(self, stamp: Stamp, answer: Answer, now_s: float) -> None:
        """Show an answer with its image, and count it."""
        with self._lock:
            truth = self._truths.get(stamp, TrueScene())
            answer = replace(
                answer,
                truth=truth.label,
                true_boxes=truth.boxes,
                car_share=self._car_share(answer),
            )
            if self._quality is not None:
                with suppress(ValueError):  # of another model
                    self._quality.add(answer.record, truth.record)
            self._places[answer.place] += 1
            self._judged += answer.right is not None
            self._right += answer.right is True
            deadline_s = answer.deadline_s or self._shown.deadline_s
            self._missed += answer.latency_s > deadline_s
            # Topics arrive in any order: an answer is not drawn over another frame's image, unless
            # its own does not arrive at all.
            if stamp in self._images or not self._images or now_s - self._answered_s > OLD_S:
                self._show(stamp, answer, now_s)
            else:
                self._waiting = stamp, answer, now_s

    def _show(self, stamp: Stamp, answer: Answer, now_s: float) -> None:
        self._waiting = None
        self._answered_s = now_s
        self._answered_image = self._images.get(stamp)
        self._shown = replace(self._shown, answer=answer, stamp=stamp)

    def take_link(self, point: LinkPoint) -> None:
        """Add to the link's history."""
        with self._lock:
            links = self._links
            crowded = len(links) > 1 and point.time_s - links[-2].time_s < _POINT_EVERY_S
            # The newest is always kept, and connection changes are never thinned out.
            if crowded and links[-1].connected == links[-2].connected:
                links.pop()
            links.append(point)
            # One point from before the start, so that the curve starts at the left edge.
            while len(links) > 1 and links[1].time_s < point.time_s - HISTORY_S:
                links.popleft()

    def take_plan(self, plan: str, mode: str, deadline_s: float) -> None:
        """Show another plan.

        Args:
            plan: the plan as text.
            mode: what was minimised, as text.
            deadline_s: the deadline it was made for in s; 0 keeps the former.
        """
        with self._lock:
            self._shown = replace(
                self._shown,
                plan=plan,
                mode=mode,
                deadline_s=deadline_s if deadline_s > 0 else self._shown.deadline_s,
            )

    def shown(self, now_s: float, *, as_last_answered: bool = False) -> Shown:
        """The content to draw.

        Args:
            now_s: present time on the clock of the answers and the link.
            as_last_answered: show the last answer as it was when it arrived, however old it is.
        """
        with self._lock:
            age_s = 0.0 if as_last_answered else max(now_s - self._answered_s, 0.0)
            image = self._answered_image
            if self._images and (image is None or age_s > OLD_S):
                image = next(reversed(self._images.values()))
            return replace(
                self._shown,
                image=image,
                answer_age_s=age_s,
                links=tuple(self._links),
                now_s=now_s,
                places=dict(self._places),
                right=self._right,
                judged=self._judged,
                missed=self._missed,
                quality=self._quality.quality if self._quality else None,
                quality_name=self._quality_name,
                objects_per_frame=self._quality.objects_per_frame if self._quality else None,
            )

    def status(self, now_s: float) -> dict[str, Any]:
        """The same for JSON: without the image, null for unknown, ages instead of times."""
        shown = self.shown(now_s)
        answer = None
        if shown.answer is not None:
            bare = replace(shown.answer, class_map=None, record=NO_ANSWER)
            answer = {**asdict(bare), "right": shown.answer.right}
            del answer["class_map"], answer["record"]
            answer["age_s"] = shown.answer_age_s
        link = None
        if shown.links:
            last = shown.links[-1]
            link = {
                "uplink_bps": last.uplink_bps,
                "rtt_s": last.rtt_s,
                "connected": last.connected,
                "history_s": HISTORY_S,
                "history": [
                    {
                        "age_s": round(now_s - point.time_s, 3),
                        "uplink_bps": point.uplink_bps,
                        "connected": point.connected,
                    }
                    for point in shown.links
                ],
            }
        return _finite(
            {
                "answer": answer,
                "link": link,
                "deadline_s": shown.deadline_s,
                "exits": shown.exits,
                "mode": shown.mode,
                "plan": shown.plan,
                "places": {name: shown.places.get(name, 0) for name in ("car", "edge", "fallback")},
                "right": shown.right,
                "judged": shown.judged,
                "missed": shown.missed,
                "quality": shown.quality,
                "quality_name": shown.quality_name,
                "objects_per_frame": shown.objects_per_frame,
            }
        )

    def _car_share(self, answer: Answer) -> float | None:
        """Share of the exit's operations (FLOPs) before the cut."""
        if answer.place == "car" or not answer.boundary:
            return 1.0
        key = (answer.exit_number, answer.boundary)
        if key not in self._shares:
            self._shares[key] = self._compute_share(*key)
        return self._shares[key]

    def _compute_share(self, exit_number: int, boundary: tuple[str, ...]) -> float | None:
        if self._dag is None:
            return None
        try:
            whole = self._dag.exit_part(exit_number)
            head = self._dag.ancestors(boundary) & whole
        except GraphError:  # an answer from another model
            return None
        flops = {name: self._dag.by_name[name].flops for name in whole}
        total = sum(flops.values())
        return sum(flops[name] for name in head) / total if total else None


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
