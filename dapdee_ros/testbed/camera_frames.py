"""Rendered road signs as pictures on disk: a camera that costs what reading one costs.

Rendering takes longer than the network that looks at the picture. On the emulated car, whose
processor is a tenth of this one, there would be no frames left to measure anything with.
"""

from __future__ import annotations

from pathlib import Path

from dapdee_ros.files import whole_folder

FRAMES = 200
_SEED, _SIZE = 7, (128, 128)  # as the camera's source of that name


def rendered_frames(folder: Path, count: int = FRAMES) -> Path:
    """A folder of rendered scenes, one folder a class; made if it is not there.

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
            # Not imwrite: on a full disk it leaves half an image and says nothing.
            image = cv2.imencode(".bmp", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))[1]
            path.write_bytes(image.tobytes())
    return done
