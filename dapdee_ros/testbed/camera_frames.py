"""Rendered road signs as pictures on disk: a camera that costs what reading one costs.

Rendering takes longer than the network that looks at the picture. On the played car, whose
processor is a tenth of this one, there would be no frames left to measure anything with.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

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
    draft = folder / f".{done.name}.{os.getpid()}"
    signs = RoadSigns(_SEED, _SIZE)
    for number in range(count):
        frame = signs.frame(number)
        path = draft / LABELS[frame.label] / f"{number:04d}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    try:
        draft.rename(done)
    except OSError:
        # Another testbed was quicker.
        shutil.rmtree(draft)
    return done
