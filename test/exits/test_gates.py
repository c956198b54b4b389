import json

import numpy as np
import pytest

from dapdee_ros.exits.codec_losses import Change, CodecLosses, CodedTensor
from dapdee_ros.exits.gates import Calibration, CalibrationError, GateCurve, confidence, softmax


def _calibration() -> Calibration:
    return Calibration(
        model_id="0123456789abcdef",
        data="made up for this test",
        frames=4,
        exit_quality=(0.5, 1.0),
        temperatures=(2.0, 1.0),
        gates={
            1: GateCurve(
                thresholds=(0.0, 0.5, 1.0),
                share=(1.0, 0.5, 0.25),
                quality={2: (0.5, 0.75, 1.0)},
            )
        },
        codecs=CodecLosses(
            4, {"u8": {"relu": CodedTensor(9.5, 0.01, 0.02, {1: Change(0.25, 0.1)})}}
        ),
    )


def test_confidence_names_the_class_and_its_probability() -> None:
    logits = np.array([[1.0, 3.0, 2.0]], np.float32)
    best, sure = confidence(logits)
    assert best == 1
    assert sure == pytest.approx(np.exp(3) / (np.exp(1) + np.exp(2) + np.exp(3)))
    # A higher temperature makes it less sure of the same class.
    assert confidence(logits, 5.0)[0] == 1
    assert confidence(logits, 5.0)[1] < sure
    assert confidence(np.array([1e4, -1e4]))[1] == 1.0
    assert softmax(np.zeros((2, 4))).tolist() == [[0.25] * 4] * 2


def test_lookups_are_exact_at_the_measured_thresholds_and_linear_between() -> None:
    calibration = _calibration()
    assert calibration.thresholds(1) == (0.0, 0.5, 1.0)
    assert calibration.share(1, 0.5) == 0.5
    assert calibration.share(1, 0.75) == pytest.approx(0.375)
    assert calibration.share(1, 1.5) == 0.0
    assert calibration.quality(1, 2, 0.5) == 0.75
    assert calibration.quality(1, 2, 0.25) == pytest.approx(0.625)
    assert calibration.quality(1, 2, 1.5) == 1.0


def test_json_and_back() -> None:
    calibration = _calibration()
    assert Calibration.from_dict(json.loads(json.dumps(calibration.to_dict()))) == calibration


def test_questions_without_an_answer_say_why() -> None:
    with pytest.raises(CalibrationError, match=r"gate 2 asked for, this model has \[1\]"):
        _calibration().share(2, 0.5)
    with pytest.raises(CalibrationError, match="after gate 1 come exits"):
        _calibration().quality(1, 1, 0.5)


def _without(key: str) -> dict:
    values = _calibration().to_dict()
    del values[key]
    return values


def _changed(path: list[str], value: object) -> dict:
    values = _calibration().to_dict()
    at = values
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return values


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (_without("temperatures"), "KeyError: 'temperatures'"),
        (_changed(["temperatures"], [1.0]), "a quality and a temperature for each exit"),
        (_changed(["temperatures"], [1.0, 0.0]), "temperatures must be positive"),
        (_changed(["gates"], {}), "make gates 1 to 1"),
        (_changed(["gates", "1", "share"], [1.0]), "one value a threshold"),
        (_changed(["gates", "1", "share"], [1.0, 0.5, 7.0]), "between 0 and 1"),
        (_changed(["gates", "1", "thresholds"], [0.0, 0.9, 0.5]), "thresholds must rise"),
        (_changed(["gates", "1", "quality"], {}), "pairs with exits 2 to 2"),
        (_changed(["gates"], [1]), "not a calibration"),
        (_changed(["codecs"], {"u8": [0.5, 0.5]}), "without their boundaries; run `dapdee"),
        (_changed(["codecs", "format"], 3), "codecs of format 3, this version reads 2"),
    ],
)
def test_what_contradicts_itself_is_refused(values: dict, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        Calibration.from_dict(values)
