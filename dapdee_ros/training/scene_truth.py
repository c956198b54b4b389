"""What a frame of a data set shows, as an answer of the task. No torch in here."""

from __future__ import annotations

import numpy as np

from dapdee_ros.datasets.frame_source import SourceFrame
from dapdee_ros.datasets.split import DataError
from dapdee_ros.tasks.detection import Detections
from dapdee_ros.tasks.segmentation import ClassMap


def true_detections(frame: SourceFrame) -> Detections:
    """The objects of a frame as a detector would answer.

    Raises:
        DataError: if nobody has said what it shows.
    """
    truth = frame.truth
    if truth is None or truth.boxes is None:
        raise DataError("a frame of a data set does not say which objects it shows")
    return Detections(truth.boxes, np.ones(len(truth.boxes)), truth.box_labels)


def true_surfaces(frame: SourceFrame) -> ClassMap:
    """The class map of a frame as a segmenter would answer.

    Raises:
        DataError: if it has none.
    """
    if frame.truth is None or frame.truth.class_map is None:
        raise DataError("a frame of a data set has no class map")
    return ClassMap(frame.truth.class_map)
