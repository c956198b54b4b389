import json
import math

import pytest

from dapdee_ros.exits.codec_losses import Change, CodecLosses, CodedTensor


def _losses(frames: int = 1000, **tensors: CodedTensor) -> CodecLosses:
    return CodecLosses(frames, {"u8": tensors})


def test_a_loss_counts_beyond_its_standard_deviation() -> None:
    pairs = {1: (30, 10), 2: (12, 8), 3: (1, 0), 4: (0, 50), 5: (7, 1)}
    changes = {number: Change.counted(*pair, 1000) for number, pair in pairs.items()}
    losses = _losses(relu=CodedTensor(10, 0, 0, changes))
    assert losses.loss("u8", "relu", 1) == pytest.approx(0.02)
    assert losses.loss("u8", "relu", 2) == 0
    assert losses.loss("u8", "relu", 3) == 0
    assert losses.loss("u8", "relu", 4) == 0
    assert losses.loss("u8", "relu", 5) == pytest.approx(0.006)


def test_what_was_not_measured_is_unknown() -> None:
    losses = _losses(relu=CodedTensor(10, 0, 0, {1: Change(0, 0)}))
    assert losses.loss("u8", "relu", 2) is None
    assert losses.loss("u8", "pool", 1) is None
    assert losses.loss("u4", "relu", 1) is None
    assert CodecLosses().loss("u8", "relu", 1) is None


def test_json_and_back() -> None:
    losses = _losses(
        relu=CodedTensor(10.5, 0.01, 0.02, {1: Change(-0.001, 0.0025), 2: Change(0, 0)})
    )
    assert CodecLosses.from_dict(json.loads(json.dumps(losses.to_dict()))) == losses
    assert CodecLosses.from_dict({}) == CodecLosses()


def test_counts_of_earlier_files_are_read() -> None:
    tensors = {"u8": {"relu": [10.5, 0.01, 0.02, {"1": [30, 10]}]}}
    former = CodecLosses.from_dict({"frames": 1000, "tensors": tensors})
    assert former.tensors["u8"]["relu"].changes == {1: pytest.approx((0.02, 40**0.5 / 1000))}
    assert former.loss("u8", "relu", 1) == pytest.approx(0.02)
    with pytest.raises(ValueError, match="lost 900 and won 101 of 1000 frames"):
        Change.counted(900, 101, 1000)
    with pytest.raises(ValueError, match="format 3, this version reads 2"):
        CodecLosses.from_dict({"frames": 1000, "format": 3, "tensors": tensors})


@pytest.mark.parametrize(
    "coded",
    [
        CodedTensor(0, 0, 0, {}),
        CodedTensor(math.nan, 0, 0, {}),
        CodedTensor(10, -1, 0, {}),
        CodedTensor(10, 0, math.inf, {}),
        CodedTensor(10, 0, 0, {0: Change(0, 0)}),
        CodedTensor(10, 0, 0, {1: Change(0, -0.1)}),
        CodedTensor(10, 0, 0, {1: Change(math.nan, 0)}),
    ],
)
def test_impossible_numbers_are_refused(coded: CodedTensor) -> None:
    with pytest.raises(ValueError, match="codec u8 at 'relu'"):
        _losses(relu=coded)
