"""Bags for tests, made with the writer and told apart from what reads them by `rosbags` itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.bags.message_types import (
    COMPRESSED_IMAGE,
    IMAGE,
    LINK_QUALITY,
    SCENE_TRUTH,
    new_message,
)
from dapdee_ros.bags.writer import BagWriter
from dapdee_ros.datasets.frame_source import Truth
from dapdee_ros.datasets.roadscenes import CLASSES, SURFACES, RoadScenes, SceneFrame
from dapdee_ros.datasets.roadsigns import LABELS, RoadSigns
from dapdee_ros.tasks.truth import truth_fields

SECOND_NS = 1_000_000_000
START_NS = 1_700_000_000 * SECOND_NS
STAMP_EARLIER_NS = 30_000_000  # an image is taken that long before it is recorded


def header(stamp_ns: int, frame_id: str = "camera") -> Any:
    sec, nanosec = divmod(stamp_ns, SECOND_NS)
    stamp = new_message("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec)
    return new_message("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def image(rgb: NDArray[np.uint8], stamp_ns: int) -> Any:
    height, width, _ = rgb.shape
    return new_message(
        IMAGE,
        header=header(stamp_ns),
        height=height,
        width=width,
        encoding="rgb8",
        is_bigendian=0,
        step=3 * width,
        data=rgb.reshape(-1),
    )


def compressed(rgb: NDArray[np.uint8], stamp_ns: int) -> Any:
    import cv2

    _, data = cv2.imencode(".png", rgb[..., ::-1])
    return new_message(
        COMPRESSED_IMAGE, header=header(stamp_ns), format="rgb8; png compressed", data=data
    )


def link_quality(stamp_ns: int, uplink_bps: float, rtt_s: float, connected: bool = True) -> Any:
    return new_message(
        LINK_QUALITY,
        header=header(stamp_ns),
        car_id="car",
        uplink_bps=uplink_bps,
        rtt_s=rtt_s,
        loss_ratio=0.0,
        connected=connected,
        age_s=0.0,
        uplink_spread=0.1,
        measurements=3,
    )


def road_signs(count: int, size: tuple[int, int] = (60, 80)) -> list[tuple[NDArray[np.uint8], str]]:
    """Rendered scenes with the names of what they show."""
    scenes = RoadSigns(seed=5, size=size)
    frames = [scenes.frame(index) for index in range(count)]
    return [(frame.image, LABELS[frame.label]) for frame in frames]


def make_drive(
    path: Path,
    storage: str = "mcap",
    *,
    frames: int = 12,
    rate_hz: float = 10.0,
    png: bool = False,
    rates_bps: Sequence[float] = (),
    image_topic: str = "/image_raw",
) -> list[tuple[NDArray[np.uint8], str]]:
    """A bag with images, their truth, and one link quality a second; returns what is to be seen."""
    scenes = road_signs(frames)
    with BagWriter(path, storage) as writer:
        writer.add_topic(image_topic, COMPRESSED_IMAGE if png else IMAGE)
        writer.add_topic("/truth", SCENE_TRUTH)
        if rates_bps:
            writer.add_topic("/link_quality", LINK_QUALITY)
        for second, rate_bps in enumerate(rates_bps):
            at_ns = START_NS + second * SECOND_NS
            writer.write("/link_quality", at_ns, link_quality(at_ns, rate_bps, 0.05, rate_bps > 0))
        for index, (rgb, label) in enumerate(scenes):
            log_ns = START_NS + round(index / rate_hz * SECOND_NS)
            stamp_ns = log_ns - STAMP_EARLIER_NS
            truth = new_message(SCENE_TRUTH, header=header(stamp_ns), class_id=99, label=label)
            writer.write("/truth", log_ns, truth)
            writer.write(image_topic, log_ns, (compressed if png else image)(rgb, stamp_ns))
    return scenes


def make_scenes(path: Path, frames: int, size: tuple[int, int] = (96, 128)) -> list[SceneFrame]:
    """A bag with a drive along rendered roads and all that is known of it; returns the scenes."""
    source = RoadScenes(2, size)
    scenes = [source.frame(index) for index in range(frames)]
    with BagWriter(path, "mcap") as writer:
        writer.add_topic("/image_raw", IMAGE)
        writer.add_topic("/truth", SCENE_TRUTH)
        for index, scene in enumerate(scenes):
            log_ns = START_NS + round(index / 10 * SECOND_NS)
            stamp_ns = log_ns - STAMP_EARLIER_NS
            truth = Truth(
                boxes=[found.box for found in scene.objects],
                box_labels=[found.label for found in scene.objects],
                class_map=scene.class_map,
            )
            fields = truth_fields(truth, CLASSES, SURFACES)
            for name, dtype in (("boxes", "f4"), ("box_classes", "i4"), ("class_map", "u1")):
                fields[name] = np.array(fields.get(name, ()), dtype)
            message = new_message(SCENE_TRUTH, header=header(stamp_ns), **fields)
            writer.write("/truth", log_ns, message)
            writer.write("/image_raw", log_ns, image(scene.image, stamp_ns))
    return scenes
