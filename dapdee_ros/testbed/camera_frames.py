"""Rendered images as files: a camera that costs only reading a file.

Rendering takes longer than inference. On the emulated car, with a tenth of this processor, the
camera could not deliver enough frames for a measurement.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dapdee_ros.files import whole_folder

FRAMES = 200
_SEED = 7  # as the camera's sources
_SIGN_SIZE = (128, 128)
_SEQUENCE_FRAMES = 4
"""Short drives: an mAP of 200 frames should not be that of five."""


def sign_frames(folder: Path, count: int = FRAMES) -> dict[str, str]:
    """Road signs, one folder per class; rendered if they are not there.

    Args:
        folder: where folders of frames are kept.
        count: how many frames.

    Returns:
        The camera's parameters.
    """
    from dapdee_ros.datasets.roadsigns import LABELS, RoadSigns

    signs = RoadSigns(_SEED, _SIGN_SIZE)

    def write(number: int, draft: Path) -> None:
        frame = signs.frame(number)
        _write(draft / LABELS[frame.label] / f"{number:04d}.bmp", frame.image)

    done = _rendered(folder / f"roadsigns-{_SEED}-{count}", count, write)
    return {"source": "images", "path": str(done)}


def scene_frames(folder: Path, count: int = FRAMES) -> dict[str, str]:
    """Road scenes as moving sequences with their boxes, in YOLO's layout; as ``sign_frames``."""
    from dapdee_ros.datasets.roadscenes import CLASSES, DEFAULT_SIZE, RoadScenes

    scenes = RoadScenes(_SEED, sequence_frames=_SEQUENCE_FRAMES)
    height, width = DEFAULT_SIZE
    per_side = np.array([width, height, width, height], np.float64)

    def write(number: int, draft: Path) -> None:
        frame = scenes.frame(number)
        _write(draft / "images" / f"{number:04d}.bmp", frame.image)
        lines = []
        for found in frame.objects:
            left, top, right, bottom = np.array(found.box) / per_side
            place = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            lines.append(" ".join([str(found.label), *(f"{value:.6f}" for value in place)]))
        text_file = draft / "labels" / f"{number:04d}.txt"
        text_file.parent.mkdir(parents=True, exist_ok=True)
        text_file.write_text("".join(f"{line}\n" for line in lines), "utf-8")
        (draft / "classes.txt").write_text("".join(f"{name}\n" for name in CLASSES), "utf-8")

    done = _rendered(folder / f"roadscenes-{_SEED}-{count}", count, write)
    return {"source": "yolo", "path": str(done)}


RENDERED: dict[str, Callable[[Path], dict[str, str]]] = {
    "roadsigns": sign_frames,
    "roadscenes": scene_frames,
}
"""What writes the frames of a source that would have to be rendered, by its name."""


def _rendered(done: Path, count: int, write: Callable[[int, Path], Any]) -> Path:
    if not done.is_dir():
        with whole_folder(done) as draft:
            for number in range(count):
                write(number, draft)
    return done


def _write(path: Path, image: NDArray[np.uint8]) -> None:
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    # Not imwrite: on a full disk it silently leaves a truncated image.
    coded = cv2.imencode(".bmp", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    path.write_bytes(coded.tobytes())
