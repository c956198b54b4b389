"""Head and edge say at once that they cannot publish what a detector finds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cli.test_import import detector

from dapdee_ros.cli.main import main

if TYPE_CHECKING:
    from ros_world import RosWorld

pytestmark = [pytest.mark.ros, pytest.mark.timeout(180)]

START_S = 60.0


@pytest.mark.parametrize("executable", ["head", "edge"])
def test_a_detector_is_refused_when_it_is_configured(
    ros: RosWorld, executable: str, tmp_path: Path
) -> None:
    path = detector().save(tmp_path / "net.onnx")
    out = tmp_path / "det"
    assert main(
        ["import", str(path), "--decoder", "yolo", "--labels", "a,b,c", "--out", str(out)]
    ) == 0  # fmt: skip
    program = ros.start(executable, {"model": str(out), "engine": "onnxruntime"})
    ros.spin_until(lambda: "cannot use the model" in program.output(), START_S)
    assert "is for detection, and an InferenceResult has no place" in program.output()
    assert "Traceback" not in program.output()
