"""Two detectors that others trained, imported from their ONNX files and cut anywhere."""

from __future__ import annotations

import numpy as np
import pytest
from engines.made_networks import heads
from engines.test_onnx_import import expected
from support.shared_data import shared

from dapdee_ros.engines.onnx_import import Pixels, import_onnx
from dapdee_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from dapdee_ros.graph.cuts import TooManyCuts, contract, cuts

CUTS = 30
DETECTORS = {
    "yolox_nano.onnx": (Pixels("bgr", 1.0), 416, {"output": (1, 3549, 85)}),
    "FastestDet.onnx": (Pixels("bgr", 1 / 255), 352, {"Concat_264": (1, 85, 22, 22)}),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_thirty_cuts_give_what_the_file_gives(name: str) -> None:
    path = shared(name)
    pixels, side, outputs = DETECTORS[name]
    model = import_onnx(path, pixels)
    dag, engine = model.dag, OnnxRuntimeEngine(model)
    assert {n: dag.by_name[n].shape for n in dag.outputs} == outputs
    image = np.random.default_rng(3).integers(0, 256, (1, side, side, 3), np.uint8)
    (wanted,) = expected(path, image, pixels)
    whole = engine.run({dag.input: image}, dag.outputs)[dag.outputs[0]]
    boundaries = heads(dag, CUTS)
    assert len(boundaries) == CUTS
    for boundary in boundaries:
        sent = engine.run({dag.input: image}, boundary)
        came = engine.run(sent, dag.outputs)[dag.outputs[0]]
        np.testing.assert_allclose(came, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
        np.testing.assert_allclose(came, whole, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_their_cuts_can_be_listed() -> None:
    small = import_onnx(shared("FastestDet.onnx"), Pixels()).dag
    assert (len(small.nodes), len(cuts(small, 1))) == (137, 403)
    large = import_onnx(shared("yolox_nano.onnx"), Pixels()).dag
    assert len(large.nodes) == 150
    with pytest.raises(TooManyCuts):
        cuts(large, 1)
    # What the planner scans: the predictors of three scales side by side, merged where it loses
    # nothing.
    assert len(cuts(contract(large).dag, 1)) == 481
