"""A replay's answers as other programs read them: vision_msgs, and drawings for Foxglove."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dapdee_ros.bags.foxglove_types import IMAGE_ANNOTATIONS, LINE_LOOP
from dapdee_ros.bags.message_types import IMAGE, new_message
from dapdee_ros.tasks.classification import Classification, Classifier
from dapdee_ros.tasks.detection import SCORE, Detections, Detector
from dapdee_ros.tasks.segmentation import ClassMap, Segmenter

DETECTIONS = "vision_msgs/msg/Detection2DArray"
CLASSIFICATION = "vision_msgs/msg/Classification"
VISION_INFO = "vision_msgs/msg/VisionInfo"
LABEL_INFO = "vision_msgs/msg/LabelInfo"

TOPICS_OF: dict[str, dict[str, str]] = {
    Classifier.name: {"classification": CLASSIFICATION},
    Detector.name: {"detections": DETECTIONS, "annotations": IMAGE_ANNOTATIONS},
    Segmenter.name: {"segmentation": IMAGE},
}
"""Topics with their types by task; those of vision_msgs named as the head names them."""

INFO_TOPICS = {"vision_info": VISION_INFO, "label_info": LABEL_INFO}
"""Latched: what gives the answers, and what their class numbers mean."""

_TURQUOISE = (0.27, 0.80, 0.75)
_BLUE = (0.37, 0.64, 1.0)
_FONT_PX = 12.0


def shown(answer: Any, labels: Sequence[str], header: Any, *, on_edge: bool) -> dict[str, Any]:
    """Messages by topic.

    Args:
        answer: about the image, of one of the three tasks.
        labels: the classes' names.
        header: the image's.
        on_edge: whether it was finished on the edge, which is drawn in another colour.
    """
    if isinstance(answer, Detections):
        colour = _TURQUOISE if on_edge else _BLUE
        return {
            "detections": _detections(answer, header),
            "annotations": _annotations(answer, labels, header.stamp, colour),
        }
    if isinstance(answer, ClassMap):
        return {"segmentation": mono8(answer.class_ids, header)}
    return {"classification": _classification(answer, header)}


def infos(name: str, labels: Sequence[str], header: Any) -> dict[str, Any]:
    """What the answers of a model mean, by topic."""
    classes = [
        new_message("vision_msgs/msg/VisionClass", class_id=number, class_name=label)
        for number, label in enumerate(labels)
    ]
    return {
        "vision_info": new_message(
            VISION_INFO, header=header, method=name, database_location="/label_info",
            database_version=1,
        ),
        "label_info": new_message(LABEL_INFO, header=header, class_map=classes),
    }  # fmt: skip


def mono8(class_map: Any, header: Any) -> Any:
    """A class map, uint8 ``(H, W)``, as an image message, an empty one for no answer."""
    height, width = class_map.shape
    return new_message(
        IMAGE,
        header=header,
        height=height,
        width=width,
        encoding="mono8" if class_map.size else "",
        step=width,
        data=class_map.reshape(-1),
    )


def _hypothesis(number: int, score: float) -> Any:
    return new_message("vision_msgs/msg/ObjectHypothesis", class_id=str(number), score=score)


def _classification(answer: Classification, header: Any) -> Any:
    ranked = zip(answer.top_classes, answer.top_scores, strict=True)
    results = [_hypothesis(number, score) for number, score in ranked]
    return new_message(CLASSIFICATION, header=header, results=results)


def _detections(answer: Detections, header: Any) -> Any:
    found = []
    for (left, top, right, bottom), score, number in _rows(answer):
        middle = new_message("vision_msgs/msg/Point2D", x=(left + right) / 2, y=(top + bottom) / 2)
        box = new_message(
            "vision_msgs/msg/BoundingBox2D",
            center=new_message("vision_msgs/msg/Pose2D", position=middle),
            size_x=right - left,
            size_y=bottom - top,
        )
        result = new_message(
            "vision_msgs/msg/ObjectHypothesisWithPose", hypothesis=_hypothesis(number, score)
        )
        kind = "vision_msgs/msg/Detection2D"
        found.append(new_message(kind, header=header, results=[result], bbox=box))
    return new_message(DETECTIONS, header=header, detections=found)


def _rows(answer: Detections) -> list[tuple[list[float], float, int]]:
    boxes, scores, classes = (array.astype(np.float64).tolist() for array in answer.arrays)
    return [
        (box, score, int(number)) for box, score, number in zip(boxes, scores, classes, strict=True)
    ]


def _annotations(
    answer: Detections, labels: Sequence[str], stamp: Any, colour: tuple[float, float, float]
) -> Any:
    outline = _colour(colour, 1.0)
    points, texts = [], []
    for (left, top, right, bottom), score, number in _rows(answer):
        if score < SCORE:
            continue
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        points.append(
            new_message(
                "foxglove_msgs/msg/PointsAnnotation", timestamp=stamp, type=LINE_LOOP,
                points=[_point(x, y) for x, y in corners], outline_color=outline,
                fill_color=_colour(colour, 0.0), thickness=2.0,
            )
        )  # fmt: skip
        texts.append(
            new_message(
                "foxglove_msgs/msg/TextAnnotation", timestamp=stamp, position=_point(left, top),
                text=f"{labels[number]} {100 * score:.0f}", font_size=_FONT_PX,
                text_color=_colour((0.05, 0.07, 0.1), 1.0), background_color=outline,
            )
        )  # fmt: skip
    return new_message(IMAGE_ANNOTATIONS, points=points, texts=texts)


def _point(x: float, y: float) -> Any:
    return new_message("foxglove_msgs/msg/Point2", x=x, y=y)


def _colour(tone: tuple[float, float, float], alpha: float) -> Any:
    red, green, blue = tone
    return new_message("foxglove_msgs/msg/Color", r=red, g=green, b=blue, a=alpha)
