"""What codecs take on this machine, and that plans are priced with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dapdee_ros.codecs import CODEC_NAMES
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.planning.device_profile import CodecTime, DeviceProfile
from dapdee_ros.planning.errors import ProfileError
from dapdee_ros.planning.from_card import problem_of, sample_profiles
from dapdee_ros.runtime.codec_times import codec_times
from dapdee_ros.runtime.own_profile import codecs_here

CARD = read_card(find_model("roadsigns"))
CAR, *_, EDGE = sample_profiles(CARD.model_id)


def test_every_codec_can_be_timed() -> None:
    found = codec_times(CODEC_NAMES, 0.1)
    assert set(found) == set(CODEC_NAMES)
    for times in found.values():
        assert all(0 <= seconds < 1 for seconds in times)
        assert times.encode_s + 1e6 * times.encode_s_per_byte > 0
    # Entropy coding a megabyte takes far longer than copying it.
    assert found["u8z"].encode_s_per_byte > found["f32"].encode_s_per_byte


def test_what_a_model_is_planned_with_is_timed() -> None:
    assert CARD.calibration is not None
    assert CARD.calibration.codecs is not None
    assert set(codecs_here(CARD)) == {"f32", *CARD.calibration.codecs.tensors}


def test_plans_are_priced_with_the_machines_own_times() -> None:
    times = {"f32": CodecTime(0.001, 1e-8, 0.002, 2e-8), "u8": CodecTime(0.1, 0.0, 0.2, 0.0)}
    car, edge = replace(CAR, codecs=times), replace(EDGE, codecs={"u8": times["u8"]})
    f32, u8 = problem_of(CARD, car, edge, ["f32", "u8"]).codecs
    node = next(n for n in CARD.dag.nodes if n.inputs and u8.tensor(n) is not None)
    plain, coded = f32.tensor(node), u8.tensor(node)
    assert plain is not None
    assert coded is not None
    assert plain.encode_s == pytest.approx(0.001 + 1e-8 * node.output_bytes)
    assert plain.decode_s == 0  # the edge server did not time it
    assert (coded.encode_s, coded.decode_s) == (0.1, 0.2)
    former, _ = problem_of(CARD, CAR, EDGE, ["u8", "f32"]).codecs
    calibrated = former.tensor(node)
    assert calibrated is not None
    assert 0 < calibrated.encode_s < 0.1


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e3])
@pytest.mark.parametrize("place", range(4))
def test_times_that_cannot_be_are_refused(seconds: float, place: int) -> None:
    times = [0.0] * 4
    times[place] = seconds
    with pytest.raises(ProfileError, match="codec 'u8' of the profile"):
        replace(CAR, codecs={"u8": CodecTime(*times)})
    values = CAR.to_dict() | {"codecs": {"u8": [0.0] * 3}}
    with pytest.raises(ProfileError, match="not a device profile"):
        DeviceProfile.from_dict(values)
