"""What a codec costs an exit whose quality is one figure of many frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from dapdee_ros.exits.codec_losses import Change
from dapdee_ros.tasks.average_precision import DetectionEvaluator
from dapdee_ros.tasks.detection import Detections
from dapdee_ros.training.answers_compared import AnswersCompared

RIGHT = Detections(np.array([[10, 10, 30, 30]], np.float32), np.ones(1), np.zeros(1, int))
NONE, WRONG = (np.array([value]) for value in (0.0, 1.0))


def compared(truths: list[Detections]) -> AnswersCompared:
    def decode(outputs: Sequence[np.ndarray]) -> Detections:
        return Detections() if outputs[0][0] else RIGHT

    return AnswersCompared(decode, truths, lambda: DetectionEvaluator(("car", "sign")))


@pytest.mark.parametrize("frames", [20, 100])
def test_what_is_lost_and_how_surely(frames: int) -> None:
    comparison = compared([RIGHT] * frames)
    rng = np.random.default_rng(4)
    spoilt = rng.permutation(frames) < 0.3 * frames
    for frame in range(frames):
        # With the codec the answers to three in ten frames are empty.
        comparison.add(frame, [NONE], [WRONG if spoilt[frame] else NONE])
    lost, error = comparison.change()
    assert lost == pytest.approx(0.3, abs=0.011)  # an AP is a sum over 101 points
    # That of a share of independent frames, as far as ten groups can tell.
    assert error == pytest.approx((0.3 * 0.7 / frames) ** 0.5, rel=0.6)
    back = compared([RIGHT] * frames)
    for frame in range(frames):
        back.add(frame, [WRONG if spoilt[frame] else NONE], [NONE])
    assert back.change() == (pytest.approx(-lost), pytest.approx(error))


def test_equal_answers_lose_nothing_for_sure() -> None:
    comparison = compared([RIGHT] * 12)
    for frame in range(12):
        comparison.add(frame, [NONE], [NONE])
    assert comparison.change() == Change(0.0, 0.0)


def test_where_nothing_can_be_judged_nothing_is_lost() -> None:
    empty = compared([Detections()])
    empty.add(0, [WRONG], [WRONG])
    assert empty.change() == Change(0.0, 0.0)
    one = compared([RIGHT, Detections()])
    one.add(0, [NONE], [WRONG])
    one.add(1, [WRONG], [WRONG])
    assert one.change() == (pytest.approx(1.0), 0.0)
