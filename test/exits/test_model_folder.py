import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from dapdee_ros.exits.calibration import calibrate
from dapdee_ros.exits.card import ModelCard, ModelFolderError, find_model, read_card
from dapdee_ros.exits.model_folder import architecture_in, load_model, load_module, save_model


@pytest.fixture
def folder(saved: ModelCard, tmp_path: Path) -> Path:
    """A copy of the saved model that a test may spoil."""
    return Path(shutil.copytree(saved.path, tmp_path / "small"))


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_what_is_loaded_is_what_was_saved(saved: ModelCard) -> None:
    loaded = load_model(saved.path)
    card = loaded.card
    assert card == read_card(saved.path) == saved
    assert card.dag == loaded.runner.dag
    assert (card.name, card.labels, card.input_size) == ("small", ("a", "b", "c", "d"), (64, 64))
    assert card.calibration is None
    _, module = load_module(saved.path)
    image = torch.randint(0, 256, (1, 64, 64, 3), dtype=torch.uint8)
    came = loaded.runner.run({"image": image}, card.dag.outputs)
    with torch.inference_mode():
        expected = module(image)
    for sink, logits in zip(card.dag.outputs, expected, strict=True):
        assert torch.allclose(came[sink], logits, rtol=1e-3, atol=1e-4)
    assert all(p.dtype is torch.float32 for p in module.parameters())


def test_weights_are_halved_on_disk_and_no_pickle_is_there(saved: ModelCard) -> None:
    _, module = load_module(saved.path)
    network = onnx.load(saved.path / "model.onnx")
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in network.graph.initializer}
    state = {k: v for k, v in module.state_dict().items() if "num_batches" not in k}
    assert {name for name in stored if not name.startswith("~")} == set(state)
    for name, tensor in state.items():
        assert stored[name].dtype == (np.float16 if tensor.ndim > 1 else np.float32)
        np.testing.assert_array_equal(stored[name].astype(np.float32), tensor.numpy())
    assert sorted(p.name for p in saved.path.iterdir()) == [
        "graph.json", "model.json", "model.onnx",
    ]  # fmt: skip


def test_saving_a_loaded_model_again_changes_nothing(saved: ModelCard, tmp_path: Path) -> None:
    card, module = load_module(saved.path)
    again = save_model(
        tmp_path / "again",
        module,
        name=card.name,
        architecture=architecture_in(card),
        labels=card.labels,
        mean=card.input_spec.mean,
        std=card.input_spec.std,
        exit_quality=card.exit_quality,
        quality_data=card.quality_data,
        provenance=card.provenance,
    )
    assert again.model_id == card.model_id
    for name in ("model.json", "graph.json", "model.onnx"):
        assert (tmp_path / "again" / name).read_bytes() == (saved.path / name).read_bytes()


def test_the_id_is_of_structure_and_weights(saved: ModelCard, tmp_path: Path) -> None:
    card, module = load_module(saved.path)
    with torch.no_grad():
        next(module.parameters()).mul_(1.5)
    other = save_model(
        tmp_path / "other",
        module,
        name="another name",
        architecture=architecture_in(card),
        labels=card.labels,
        mean=card.input_spec.mean,
        std=card.input_spec.std,
        exit_quality=card.exit_quality,
        quality_data=card.quality_data,
        provenance=card.provenance,
    )
    assert other.model_id != card.model_id
    assert len(other.model_id) == 16


def test_the_card_needs_no_torch(saved: ModelCard) -> None:
    code = (
        "import sys; from dapdee_ros.exits.card import read_card; "
        f"read_card({str(saved.path)!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kept", [0, 5, 1000, -1])
def test_torn_weights(folder: Path, kept: int) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelFolderError, match=r"model\.onnx .* is corrupt or of another"):
        load_model(folder)


def _set(*path_and_value: Any) -> Callable[[dict[str, Any]], None]:
    *path, last, value = path_and_value

    def change(values: dict[str, Any]) -> None:
        for key in path:
            values = values[key]
        values[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("labels", ["a", "b", "c"]), r"names 3 labels, but exit 1 .* puts out shape \(1, 4\)"),
        (_set("labels", ["a", "b", "c", "e"]), "was edited"),
        (
            _set("architecture", "taps", ["stage1.neck.2", "stage7"]),
            r"model\.json: there is no node 'stage7' to put an exit on",
        ),
        (_set("architecture", "taps", ["stage1.neck.2"]), "1 taps, which makes 2 exits"),
        (_set("architecture", "builder", "lenet"), "no network called 'lenet'"),
        (_set("architecture", "arguments", {"depth": 1}), "cannot be built with"),
        (_set("architecture", "arguments", {"width": 0.5}), "does not match its contents"),
        (_set("architecture", {"builder": "roadsigns"}), "taps"),
        (_set("input", "size", [32, 32]), r"input is uint8 of size \(32, 32\)"),
        (_set("quality", "exits", [0.5]), "1 qualities for 3 exits"),
        (_set("format", 99), "format 99, this version reads 2"),
        (_set("format", 1), r"format 1, of an earlier version; convert it: dapdee convert /"),
        (_set("input", "colour", "cmyk"), r"colour must be one of \['rgb', 'bgr'\], got 'cmyk'"),
        (_set("input", "size", [64]), "missing or of the wrong kind"),
        (_set("task", {}), "missing or of the wrong kind: KeyError: 'name'"),
        (_set("input", {}), "missing or of the wrong kind: KeyError: 'size'"),
    ],
)
def test_a_wrong_entry_is_named(
    folder: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    _edit(folder / "model.json", change)
    with pytest.raises(ModelFolderError, match=message):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.json", "graph.json", "model.onnx"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelFolderError, match=name):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.json", "graph.json", "calibration.json"])
@pytest.mark.parametrize("content", [b'{"nodes": [', b"[]", b"\xff\xfe"])
def test_a_torn_json_file_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFolderError, match=name):
        read_card(folder)


def test_weights_of_another_shape_are_named(folder: Path) -> None:
    name = "backbone.stem.0.weight"
    whole = (folder / "model.onnx").read_bytes()
    for change, message in (
        (lambda kernel: kernel[:1], "stem.0.weight has shape"),
        (lambda _: None, "1 tensors are missing"),
        (lambda kernel: kernel * np.float16(np.nan), "not finite"),
    ):
        network = onnx.load_model_from_string(whole)
        weights = network.graph.initializer
        (place,) = (i for i, tensor in enumerate(weights) if tensor.name == name)
        changed = change(onnx.numpy_helper.to_array(weights[place]))
        if changed is None:
            del weights[place]
        else:
            weights[place].CopyFrom(onnx.numpy_helper.from_array(changed, name))
        onnx.save(network, folder / "model.onnx")
        digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
        _edit(folder / "model.json", _set("network", "sha256", digest))
        card_id = _expected_id(folder)
        _edit(folder / "model.json", _set("model_id", card_id))
        with pytest.raises(ModelFolderError, match=message):
            load_model(folder)


def _expected_id(folder: Path) -> str:
    with pytest.raises(ModelFolderError) as caught:
        read_card(folder)
    return str(caught.value).split("('")[1].split("')")[0]


def test_a_graph_that_is_not_this_networks(folder: Path) -> None:
    def rename(values: dict[str, Any]) -> None:
        node = values["nodes"][1]
        for other in values["nodes"]:
            other["inputs"] = ["x" if i == node["name"] else i for i in other["inputs"]]
        node["name"] = "x"

    _edit(folder / "graph.json", rename)
    with pytest.raises(ModelFolderError, match=r"graph\.json is not the graph of this network"):
        load_model(folder)


def test_calibration_goes_with_the_card(folder: Path, saved: ModelCard) -> None:
    draws = np.random.default_rng(0)
    logits = [draws.normal(size=(50, 4)).astype(np.float32) for _ in range(3)]
    labels = draws.integers(0, 4, 50)
    path = folder / "calibration.json"
    good = calibrate(logits, labels, model_id=saved.model_id, data="noise")
    path.write_text(json.dumps(good.to_dict()))
    assert read_card(folder).calibration == good
    path.write_text(json.dumps(calibrate(logits, labels, model_id="x", data="").to_dict()))
    with pytest.raises(ModelFolderError, match="is of model 'x', not of this one"):
        read_card(folder)
    two = calibrate(logits[:2], labels, model_id=saved.model_id, data="")
    path.write_text(json.dumps(two.to_dict()))
    with pytest.raises(ModelFolderError, match="is about 2 exits, the model has 3"):
        read_card(folder)


def test_models_are_found_by_name(
    saved: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_model(saved.path) == saved.path
    prefix = tmp_path / "prefix" / "share" / "dapdee_ros" / "models" / "installed"
    shutil.copytree(saved.path, prefix)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path / "prefix"))
    monkeypatch.setenv("DAPDEE_MODEL_PATH", f"/nowhere:{saved.path.parent}")
    assert find_model("small") == saved.path
    assert find_model("installed") == prefix
    with pytest.raises(ModelFolderError, match=r"no model 'other'.*'installed'.*'small'.*/nowhere"):
        find_model("other")
