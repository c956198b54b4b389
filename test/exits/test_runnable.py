"""A model folder under either engine; torch is needed only for the one of that name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from dapdee_ros.engines.engine import EngineError
from dapdee_ros.exits.card import find_model
from dapdee_ros.exits.runnable import Runnable, load_runnable

ROADSIGNS = find_model("roadsigns")

LATER = """
import sys
import numpy as np
from dapdee_ros.exits.runnable import load_runnable

model = load_runnable(sys.argv[1])
image = np.load(sys.argv[2])
came = model.engine.run({model.engine.dag.input: image}, model.engine.dag.outputs)
np.savez(sys.argv[3], *came.values())
print("torch" in sys.modules)
"""


def answers(model: Runnable, image: np.ndarray) -> list[np.ndarray]:
    dag = model.engine.dag
    return list(model.engine.run({dag.input: image}, dag.outputs).values())


def test_it_runs_without_torch_and_gives_what_torch_gives(tmp_path: Path) -> None:
    own = load_runnable(ROADSIGNS, "torch")
    image = np.random.default_rng(0).integers(0, 256, own.card.dag.nodes[0].shape, np.uint8)
    np.save(tmp_path / "image.npy", image)
    command = [sys.executable, "-c", LATER, str(ROADSIGNS), "image.npy", "answers.npz"]
    said = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert said.strip() == "False"
    came = np.load(tmp_path / "answers.npz").values()
    for other, expected in zip(came, answers(own, image), strict=True):
        np.testing.assert_allclose(other, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_any_other_tool_can_run_its_network() -> None:
    model = load_runnable(ROADSIGNS)
    dag = model.card.dag
    image = np.random.default_rng(0).integers(0, 256, dag.nodes[0].shape, np.uint8)
    session = onnxruntime.InferenceSession(ROADSIGNS / "model.onnx")
    assert [tensor.name for tensor in session.get_outputs()] == [*dag.outputs]
    came = session.run(None, {dag.input: image})
    for other, expected in zip(came, answers(model, image), strict=True):
        np.testing.assert_allclose(other, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_without_torch_the_engine_says_how_to_get_it(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('No module named torch')")
    code = "from dapdee_ros.exits.runnable import load_runnable; load_runnable('x', 'torch')"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert "EngineError: the engine 'torch' needs PyTorch, which is not installed: pip" in (
        done.stderr
    )


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(EngineError, match=r"no engine 'abacus'; choose from \['onnxruntime'"):
        load_runnable(ROADSIGNS, "abacus")
