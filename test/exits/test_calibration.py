import numpy as np
import pytest

from dapdee_ros.exits.calibration import (
    calibrate,
    fit_temperature,
    negative_log_likelihood,
)
from dapdee_ros.exits.gates import CalibrationError, confidence


def _frames(count: int = 4000, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Logits of three exits, each more often right than the one before."""
    draws = np.random.default_rng(seed)
    labels = draws.integers(0, 5, count)
    truth = np.eye(5)[labels]
    exits = [
        (strength * truth + draws.normal(0, 1, (count, 5))).astype(np.float32)
        for strength in (1.5, 2.5, 4.0)
    ]
    return exits, labels


def test_temperature_finds_the_scale_that_was_put_in() -> None:
    draws = np.random.default_rng(1)
    logits = draws.normal(0, 2, (20_000, 6))
    odds = np.exp(logits)
    odds /= odds.sum(1, keepdims=True)
    labels = np.array([draws.choice(6, p=row) for row in odds])
    assert fit_temperature((3 * logits).astype(np.float32), labels) == pytest.approx(3, rel=0.05)
    best = fit_temperature(logits.astype(np.float32), labels)
    lowest = negative_log_likelihood(logits.astype(np.float32), labels, best)
    for other in (0.5, 0.9, 1.2, 2.0):
        assert lowest <= negative_log_likelihood(logits.astype(np.float32), labels, other)


def test_pairs_are_measured_on_the_frames_that_stop_and_go_on() -> None:
    logits, labels = _frames()
    result = calibrate(logits, labels, model_id="m", data="made up")
    for gate, later in ((1, 2), (1, 3), (2, 3)):
        for threshold in (0.3, 0.7, 0.95, 1.0):
            right = stopped = 0
            for frame in range(len(labels)):
                best, sure = confidence(logits[gate - 1][frame], result.temperatures[gate - 1])
                if sure >= threshold:
                    stopped += 1
                else:
                    best = int(logits[later - 1][frame].argmax())
                right += best == labels[frame]
            assert result.share(gate, threshold) == pytest.approx(stopped / len(labels), abs=1e-6)
            measured = result.quality(gate, later, threshold)
            assert measured == pytest.approx(right / len(labels), abs=1e-6)
    # The pair is better than its gate's whole-set accuracy says, since sure frames are right more
    # often than others.
    assert result.quality(1, 3, 0.7) > (
        result.share(1, 0.7) * result.exit_quality[0]
        + (1 - result.share(1, 0.7)) * result.exit_quality[2]
    )


def test_ends_of_the_curves() -> None:
    logits, labels = _frames()
    result = calibrate(logits, labels, model_id="m", data="made up")
    assert result.exit_quality[0] < result.exit_quality[1] < result.exit_quality[2]
    assert result.share(1, 0.0) == 1.0
    assert result.quality(1, 3, 0.0) == result.exit_quality[0]
    shares = result.gates[1].share
    assert list(shares) == sorted(shares, reverse=True)
    assert result.frames == len(labels)


def test_no_frames_are_refused() -> None:
    with pytest.raises(CalibrationError, match="got \\[0\\] rows for 0 labels"):
        calibrate([np.zeros((0, 3), np.float32)], np.zeros(0, np.int64), model_id="m", data="")
    with pytest.raises(CalibrationError, match="for the same frames"):
        calibrate([np.zeros((2, 3), np.float32)], np.zeros(3, np.int64), model_id="m", data="")
