"""The head's answers once more, as the messages of vision_msgs, which many programs read.

vision_msgs has none for class maps; as elsewhere in ROS they are ``mono8`` images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox2D,
    Classification,
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    Point2D,
    Pose2D,
    VisionClass,
    VisionInfo,
)

from dapdee_ros.exits.card import ModelCard
from dapdee_ros.msg import InferenceResult
from dapdee_ros.nodes import qos
from dapdee_ros.tasks.classification import Classifier
from dapdee_ros.tasks.detection import Detector
from dapdee_ros.tasks.segmentation import Segmenter

_MOST_CLASSES = 1 << 16

Naming = Callable[[int], str]
"""Makes a hypothesis' ``class_id`` of a class's number."""


def detections_of(result: InferenceResult, name_of: Naming) -> Detection2DArray:
    """A detector's result; boxes stay in the pixels that the result has them in.

    Args:
        result: what the head publishes.
        name_of: makes the class ids.
    """
    header, boxes = result.header, result.boxes
    found = []
    for k, (number, score) in enumerate(zip(result.box_classes, result.box_scores, strict=True)):
        left, top, right, bottom = boxes[4 * k : 4 * k + 4]
        middle = Point2D(x=(left + right) / 2, y=(top + bottom) / 2)
        box = BoundingBox2D(
            center=Pose2D(position=middle), size_x=right - left, size_y=bottom - top
        )
        hypothesis = ObjectHypothesis(class_id=name_of(number), score=score)
        results = [ObjectHypothesisWithPose(hypothesis=hypothesis)]
        found.append(Detection2D(header=header, results=results, bbox=box))
    return Detection2DArray(header=header, detections=found)


def classification_of(result: InferenceResult, name_of: Naming) -> Classification:
    """A classifier's result: its most likely classes, best first.

    Args:
        result: what the head publishes.
        name_of: makes the class ids.
    """
    ranked = zip(result.top_classes, result.top_scores, strict=True)
    return Classification(
        header=result.header,
        results=[ObjectHypothesis(class_id=name_of(n), score=score) for n, score in ranked],
    )


class _Topic(NamedTuple):
    task: str
    name: str
    kind: type
    made_of: Callable[[InferenceResult, Naming], Any]


_TOPICS = (
    _Topic(Detector.name, "detections", Detection2DArray, detections_of),
    _Topic(Classifier.name, "classification", Classification, classification_of),
    # There is no message for it: an image whose pixels are classes, by their numbers.
    _Topic(Segmenter.name, "segmentation", Image, lambda result, _: result.class_map),
)


class VisionTopics:
    """Publishes ``detections``, ``classification`` or ``segmentation``, by the model's task.

    And, latched, what their class ids mean.

    All topics are there whatever the model's task is, so that subscribers can be matched before a
    model is loaded. A message is made only if somebody subscribes.
    """

    def __init__(self, node: Node, class_ids: str) -> None:
        """Create the publishers.

        Args:
            node: the head.
            class_ids: what ``class_id`` of a hypothesis holds: ``number`` or ``name``.
        """
        self._by_number = class_ids == "number"
        self._publishers = {
            topic.task: (topic, node.create_publisher(topic.kind, topic.name, qos.RESULT))
            for topic in _TOPICS
        }
        self._infos = node.create_publisher(VisionInfo, "vision_info", qos.LATCHED)
        self._labels = node.create_publisher(LabelInfo, "label_info", qos.LATCHED)
        self._model_id = ""
        self._version = 0
        self._chosen: tuple[_Topic, Any] | None = None
        self._name_of: Naming = str

    def describe(self, card: ModelCard, least_score: float, stamp: Time) -> None:
        """Publish what the results of a model will mean.

        Args:
            card: the model.
            least_score: the lowest score that its answers hold, 0 to 1.
            stamp: now.
        """
        if card.model_id != self._model_id:
            self._model_id = card.model_id
            self._version += 1
        self._chosen = self._publishers.get(card.task["name"])
        self._name_of = str if self._by_number else _names(card.labels).__getitem__
        header = Header(stamp=stamp)
        self._infos.publish(
            VisionInfo(
                header=header,
                method=card.name,
                database_location=self._labels.topic_name,
                database_version=self._version,
            )
        )
        classes = [
            VisionClass(class_id=number, class_name=label)
            for number, label in enumerate(card.labels[:_MOST_CLASSES])
        ]
        self._labels.publish(LabelInfo(header=header, class_map=classes, threshold=least_score))

    def publish(self, result: InferenceResult) -> None:
        """Publish a result, if somebody subscribes to it in this form."""
        if self._chosen is None:
            return
        topic, publisher = self._chosen
        if publisher.get_subscription_count():
            publisher.publish(topic.made_of(result, self._name_of))


def _names(labels: tuple[str, ...]) -> Mapping[int, str]:
    return dict(enumerate(labels))
