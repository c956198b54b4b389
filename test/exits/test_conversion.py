"""Folders of the first version become folders of today, with the same numbers in them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.format_1 import write_format_1

from dapdee_ros.cli.main import main
from dapdee_ros.exits import conversion
from dapdee_ros.exits.card import ModelCard, ModelFolderError, read_card
from dapdee_ros.exits.conversion import convert
from dapdee_ros.exits.model_folder import load_model, load_module

FILES = ["calibration.json", "graph.json", "model.json", "model.onnx"]


def test_a_folder_is_converted_in_place(
    saved: ModelCard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "former"
    calibration = write_format_1(folder, saved)
    with pytest.raises(ModelFolderError, match=rf"convert it: dapdee convert {folder}"):
        read_card(folder)
    assert main(["convert", str(folder)]) == 0
    said = capsys.readouterr()
    assert f"{calibration.model_id} before, {saved.model_id} now" in said.out
    assert "comparing" in said.err
    card = read_card(folder)
    assert card == replace(
        saved, path=folder, calibration=replace(calibration, model_id=saved.model_id)
    )
    assert sorted(p.name for p in folder.iterdir()) == FILES
    assert (folder / "model.onnx").read_bytes() == (saved.path / "model.onnx").read_bytes()
    for now, before in zip(
        load_module(folder)[1].parameters(), load_module(saved.path)[1].parameters(), strict=True
    ):
        assert torch.equal(now, before)
    assert main(["convert", str(folder)]) == 2
    assert "there is nothing to convert: only format 1" in capsys.readouterr().err


def test_into_another_folder_the_former_one_stays(saved: ModelCard, tmp_path: Path) -> None:
    folder, out = tmp_path / "former", tmp_path / "new" / "one"
    write_format_1(folder, saved, calibrated=False)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    done = convert(folder, out)
    assert done.bytes_before == sum(map(len, before.values()))
    assert done.bytes_after == sum(p.stat().st_size for p in out.iterdir())
    assert 0 < done.difference < 1e-5
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert done.card == load_model(out).card == replace(saved, path=out)
    with pytest.raises(ModelFolderError, match="holds a model: choose another folder"):
        convert(folder, out)


@pytest.mark.parametrize("kept", range(5))
def test_interrupted_at_any_file_it_can_be_repeated(
    saved: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    folder = tmp_path / "former"
    calibration = write_format_1(folder, saved)
    placed: list[Path] = []
    replace_file = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        if Path(target).parent == folder:
            if len(placed) == kept:
                raise KeyboardInterrupt
            placed.append(Path(target))
        return replace_file(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    if kept < len(FILES):
        with pytest.raises(KeyboardInterrupt):
            convert(folder)
        monkeypatch.undo()
        assert len(placed) == kept
    assert convert(folder).card.calibration == replace(calibration, model_id=saved.model_id)
    assert sorted(p.name for p in folder.iterdir()) == FILES


def test_nothing_is_replaced_before_it_was_compared(
    saved: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "former"
    write_format_1(folder, saved)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def fails(*_: object) -> float:
        raise ModelFolderError("not the same")

    monkeypatch.setattr(conversion, "_difference", fails)
    with pytest.raises(ModelFolderError, match="not the same"):
        convert(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("weights.safetensors", lambda b: b[: len(b) // 2], r"weights\.safetensors cannot be read"),
        ("weights.safetensors", lambda b: b[:-1] + b"\1", "is corrupt or of another model"),
        ("model.json", lambda b: b.replace(b'"a"', b'"A"'), "the file was edited"),
        ("model.json", lambda b: b.replace(b'"mean"', b'"men"'), "KeyError: 'mean'"),
        ("graph.json", lambda b: b.replace(b'"exits"', b'"exit"'), "not a model DAG"),
        (
            "calibration.json",
            lambda b: json.dumps({**json.loads(b), "model_id": "x"}).encode(),
            "of model 'x', not of this one .* calibrate again",
        ),
    ],
)
def test_what_cannot_be_converted_is_named(
    saved: ModelCard, tmp_path: Path, file: str, change: object, message: str
) -> None:
    assert callable(change)
    folder = tmp_path / "former"
    write_format_1(folder, saved)
    (folder / file).write_bytes(change((folder / file).read_bytes()))
    before = sorted(p.name for p in folder.iterdir())
    with pytest.raises(ModelFolderError, match=message):
        convert(folder)
    assert sorted(p.name for p in folder.iterdir()) == before
