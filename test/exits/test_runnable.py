"""A model loaded for ONNX Runtime: exported once, and without torch from then on."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dapdee_ros.engines.engine import EngineError
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.runnable import Runnable, load_runnable

ROADSIGNS = find_model("roadsigns")

LATER = """
import sys
import numpy as np
from dapdee_ros.exits.runnable import load_runnable

model = load_runnable(sys.argv[1], "onnxruntime")
image = np.load(sys.argv[2])
came = model.engine.run({model.engine.dag.input: image}, model.engine.dag.outputs)
np.savez(sys.argv[3], *came.values())
print("torch" in sys.modules)
"""


def answers(model: Runnable, image: np.ndarray) -> list[np.ndarray]:
    dag = model.engine.dag
    return list(model.engine.run({dag.input: image}, dag.outputs).values())


def test_it_is_exported_once_and_runs_without_torch_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ROS_HOME", str(tmp_path / "home"))
    first = load_runnable(ROADSIGNS, "onnxruntime")
    image = np.random.default_rng(0).integers(0, 256, first.card.dag.nodes[0].shape, np.uint8)
    expected = answers(first, image)
    for came, other in zip(answers(load_runnable(ROADSIGNS), image), expected, strict=True):
        np.testing.assert_allclose(came, other, rtol=0, atol=1e-4 * np.abs(other).max())
    (kept,) = (tmp_path / "home" / "dapdee" / "networks").iterdir()
    np.save(tmp_path / "image.npy", image)
    command = [sys.executable, "-c", LATER, str(ROADSIGNS), "image.npy", "answers.npz"]
    said = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert said.strip() == "False"
    for came, other in zip(np.load(tmp_path / "answers.npz").values(), expected, strict=True):
        np.testing.assert_array_equal(came, other)

    content = kept.read_bytes()
    kept.write_bytes(content[: len(content) // 2])
    with caplog.at_level(logging.WARNING):
        again = load_runnable(ROADSIGNS, "onnxruntime")
    assert "exporting again" in caplog.text
    np.testing.assert_array_equal(answers(again, image)[-1], expected[-1])
    assert kept.read_bytes() == content


def test_where_nothing_can_be_kept_it_runs_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROS_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        load_runnable(ROADSIGNS, "onnxruntime")
    assert "not kept for next time" in caplog.text


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(EngineError, match=r"no engine 'abacus'; choose from \['torch', 'onnx"):
        load_runnable(ROADSIGNS, "abacus")
