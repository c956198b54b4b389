from __future__ import annotations

from dapdee_ros.exits.gates import Calibration, GateCurve
from dapdee_ros.planning.codec_cost import GateOption
from dapdee_ros.planning.gate_options import gate_options


def test_for_each_loss_the_setting_that_ends_the_most_frames() -> None:
    curve = GateCurve(
        thresholds=(0.5, 0.7, 0.9, 1.0),
        share=(0.9, 0.6, 0.3, 0.0),
        quality={2: (0.80, 0.894, 0.901, 0.90)},
    )
    calibration = Calibration("m", "test", 100, (0.7, 0.9), (1.0, 1.0), {1: curve})
    assert gate_options(calibration, (0.0, 0.005, 0.01)) == [
        GateOption(1, 2, 0.9, 0.3, 0.901),
        GateOption(1, 2, 0.7, 0.6, 0.894),
    ]
    never = GateCurve((0.5, 1.0), (0.9, 0.0), {2: (0.80, 0.90)})
    cautious = Calibration("m", "test", 100, (0.7, 0.9), (1.0, 1.0), {1: never})
    assert gate_options(cautious, (0.0,)) == [], "a gate that ends no frame is none"
    assert gate_options(calibration, (0.2,)) == [GateOption(1, 2, 0.5, 0.9, 0.80)]
