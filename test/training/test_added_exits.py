"""Early exits for a detector that itself stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from dapdee_ros.cli.main import main
from dapdee_ros.datasets.roadscenes import CLASSES
from dapdee_ros.engines.onnx_grafts import Graft, grafted
from dapdee_ros.engines.onnx_import import Pixels, import_onnx
from dapdee_ros.engines.onnx_model import OnnxError
from dapdee_ros.exits.added_exits import AddedExitError, AddedExits, save_with_exits
from dapdee_ros.exits.card import ModelCard, ModelFolderError, network_bytes, read_card
from dapdee_ros.exits.model_folder import save_model
from dapdee_ros.exits.model_folder_writer import write_model_folder
from dapdee_ros.exits.networks import build_exit_network, detection_task, exit_architecture
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.tasks.task import task_of

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    """A detector as somebody else's: imported from an ONNX file, its deepest exit the only one."""
    folder = tmp_path_factory.mktemp("detectors")
    arguments = {"widths": [8, 8, 8, 16, 16], "blocks": [1, 1, 1, 1], "neck": 16, "predictor": 8}
    architecture = exit_architecture("mobile-detector", len(CLASSES), arguments)
    about: dict[str, Any] = {"mean": (0.4, 0.4, 0.4), "std": (0.2, 0.2, 0.2)}
    torch.manual_seed(1)
    card = save_model(
        folder / "own", build_exit_network(architecture, (96, 128), *about.values()), name="own",
        architecture=architecture, labels=CLASSES, exit_quality=(0.1, 0.2, 0.3),
        quality_data="none", provenance={"command": "none"}, task=detection_task(), **about,
    )  # fmt: skip
    network = import_onnx(card.path / "model.onnx", Pixels(), exits=[card.dag.exits[-1]])
    return write_model_folder(
        folder / "imported",
        network=network,
        dag=network.dag,
        name="imported",
        task=card.task,
        labels=card.labels,
        input_spec=card.input_spec,
        exit_quality=None,
        provenance={"command": "dapdee import"},
    )


def maps_of(card: ModelCard) -> list[str]:
    """Feature maps from the image on, each smaller than the one before."""
    found: list[str] = []
    sides: set[int] = set()
    for node in card.dag.nodes:
        if len(node.shape) == 4 and node.dtype == "float32" and node.shape[2] not in sides:
            sides.add(node.shape[2])
            found.append(node.name)
    return found


def images(card: ModelCard, count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, *card.input_size, 3), np.uint8)


def test_the_stored_exits_compute_what_was_trained_and_the_network_what_it_did(
    detector: ModelCard, tmp_path: Path
) -> None:
    base = load_runnable(detector.path)
    coarse, fine = maps_of(detector)[4], maps_of(detector)[2]
    torch.manual_seed(0)
    model = AddedExits(base.engine, [coarse, fine], detector.input_size, 8)
    assert model.taps == (fine, coarse)
    card = save_with_exits(
        tmp_path / "more", model, card=detector, name="more", exit_quality=(0.1, 0.2, 0.3),
        quality_data="none", provenance={},
    )  # fmt: skip
    assert (len(card.dag.exits), card.architecture) == (3, None)
    assert task_of(card).name == "detection"
    engine = load_runnable(card.path).engine
    for image in images(detector, 3):
        (deepest,) = base.engine.run({"image": image[None]}, detector.dag.outputs).values()
        with torch.inference_mode():
            wanted = model.eval()(torch.from_numpy(image[None]))
        found = list(engine.run({"image": image[None]}, card.dag.outputs).values())
        np.testing.assert_array_equal(found[2], deepest)
        for rows, of_module in zip(found, wanted, strict=True):
            np.testing.assert_allclose(rows, of_module, rtol=1e-4, atol=1e-5)
        # Cut after the first exit's tap, the rest is the same.
        head = engine.run({"image": image[None]}, [fine])
        tail = engine.run(head, card.dag.outputs[:1])
        np.testing.assert_allclose(tail[card.dag.outputs[0]], found[0], rtol=1e-4, atol=1e-5)


def test_scores_are_logits_in_training(detector: ModelCard) -> None:
    base = load_runnable(detector.path)
    model = AddedExits(base.engine, maps_of(detector)[2:3], detector.input_size, 8)
    some = torch.from_numpy(images(detector, 2))
    trained = model.train()(some)[-1]
    shown = model.eval()(some)[-1]
    torch.testing.assert_close(trained[..., 4:].sigmoid(), shown[..., 4:].clamp(1e-6, 1 - 1e-6))
    assert not any(p.requires_grad for p in [trained, shown])


def test_exits_are_trained_and_resumed(
    detector: ModelCard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "more"
    taps = ",".join(maps_of(detector)[2:4])
    options = [
        "train", "--exits-of", str(detector.path), "--taps", taps, "--branch-width", "8",
        "--data", "roadscenes", "--epochs", "2", "--batch-size", "4", "--frames-per-epoch", "8",
        "--held-out-frames", "4", "--threads", "1", "--workers", "0", "--out", str(out),
    ]  # fmt: skip
    assert main(options) == 0
    card = read_card(out)
    assert len(card.exit_quality) == 3
    assert card.provenance["exits_added_to"]["model_id"] == detector.model_id
    assert card.labels == detector.labels
    before = onnx.load_model_from_string(network_bytes(detector)).graph.initializer
    after = {t.name: t for t in onnx.load_model_from_string(network_bytes(card)).graph.initializer}
    assert all(after[tensor.name] == tensor for tensor in before)
    for extra, says in (
        (["--taps", "nowhere"], "tap 'nowhere' is no node of the network's exit"),
        (["--taps", detector.dag.outputs[0]], "is no map of an image"),
        (["--size", "96x96"], "--size: not with --exits-of"),
        (["--exits-of", "roadsigns"], "is for classification"),
        (["--exits-of", str(out)], "has 3 exits"),
        (["--data", "roadsigns"], "shows no objects"),
    ):
        assert main([*options, "--restart", *extra]) == 2
        assert says in capsys.readouterr().err
    assert main(["train", "--data", "roadscenes", "--out", str(tmp_path / "x")]) == 2
    assert "--model says what to train, or --exits-of" in capsys.readouterr().err


def test_a_graft_that_does_not_fit_is_refused(detector: ModelCard, tmp_path: Path) -> None:
    base = load_runnable(detector.path)
    tap = maps_of(detector)[2]
    model = AddedExits(base.engine, [tap], detector.input_size, 8)
    card = save_with_exits(
        tmp_path / "one", model, card=detector, name="one", exit_quality=(0.1, 0.3),
        quality_data="none", provenance={},
    )  # fmt: skip
    network = onnx.load_model_from_string(network_bytes(card))
    with pytest.raises(OnnxError, match="reads 'absent' as uint8"):
        grafted(network, card.dag, [Graft("absent", network, card.dag)])
    wide = AddedExits(base.engine, [maps_of(detector)[1]], detector.input_size, 96)
    with pytest.raises(ModelFolderError, match=r"exit 1 takes .* million operations, exit 2"):
        save_with_exits(
            tmp_path / "two", wide, card=detector, name="two", exit_quality=(0.1, 0.3),
            quality_data="none", provenance={},
        )  # fmt: skip
    with pytest.raises(AddedExitError, match="tap 'image' is uint8; choose a float32 map such as"):
        AddedExits(base.engine, ["image"], detector.input_size, 8)
