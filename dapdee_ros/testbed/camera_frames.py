"""Rendered road signs as image files: a camera that costs only reading a file.

Rendering takes longer than inference. On the emulated car, with a tenth of this processor, the
camera could not deliver enough frames for a measurement.
"""

from __future__ import annotations

from pathlib import Path

from dapdee_ros.files import whole_folder

FRAMES = 200
_SEED, _SIZE = 7, (128, 128)  # as the camera's source of that name


def rendered_frames(folder: Path, count: int = FRAMES) -> Path:
    """A folder of rendered scenes, one folder per class; created if it does not exist.

    Args:
        folder: where folders of frames are kept.
        count: how many frames.
    """
    import cv2

    from dapdee_ros.datasets.roadsigns import LABELS, RoadSigns

    done = folder / f"roadsigns-{_SEED}-{count}"
    if done.is_dir():
        return done
    signs = RoadSigns(_SEED, _SIZE)
    with whole_folder(done) as draft:
        for number in range(count):
            frame = signs.frame(number)
            path = draft / LABELS[frame.label] / f"{number:04d}.bmp"
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not imwrite: on a full disk it silently leaves a truncated image.
            image = cv2.imencode(".bmp", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))[1]
            path.write_bytes(image.tobytes())
    return done
