"""`dapdee bottleneck` for networks that came as ONNX, which no code of this package builds."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from cli.test_bottleneck import about, images, options
from engines.made_networks import quantised
from support.small_detector import small_detector

from dapdee_ros.cli.bottleneck_data import open_frames
from dapdee_ros.cli.main import main
from dapdee_ros.codecs.bottleneck.file import read_bottleneck
from dapdee_ros.exits.bottlenecks import of_model
from dapdee_ros.exits.card import find_model, read_card

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def signs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of roadsigns as if somebody else had trained it."""
    shipped = find_model("roadsigns")
    card = read_card(shipped)
    out = tmp_path_factory.mktemp("imported") / "signs"
    command = ["import", str(shipped / "model.onnx"), "--labels", ",".join(card.labels)]
    for outputs in card.dag.exits:
        command += ["--exit", ",".join(outputs)]
    assert main([*command, "--out", str(out)]) == 0
    assert read_card(out).architecture is None
    return out


def of(model: Path, arguments: list[str]) -> list[str]:
    return [arguments[0], str(model), *arguments[2:]]


def test_the_bottleneck_of_an_imported_network_holds_for_the_same_one_built_by_torch(
    signs: Path, tmp_path: Path
) -> None:
    assert main(of(signs, options(tmp_path / "imported", "--batch-size", "1"))) == 0
    path = tmp_path / "imported" / "stage2.onnx"
    card = read_card(signs)
    assert of_model(read_bottleneck(path), card.model_id, card.dag).file.model_id == card.model_id
    # Measured once more, without training, through the network that torch builds.
    again = ["--start-from", str(path), "--steps", "0"]
    assert main(options(tmp_path / "built", *again, at="auto")) == 0
    here, there = about(path)["losses"], about(tmp_path / "built" / "stage2.onnx")["losses"]
    assert len(here["quality"]) == 5 and here["quality"] == there["quality"]
    assert here["quantiles"] == there["quantiles"]
    assert max(pair[1] for pair in here["quality"]["stage2@5"].values()) > 0.5, "it has learned"


def test_a_network_that_torch_cannot_compute_is_refused_with_its_operator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = quantised().save(tmp_path / "net.onnx")
    out = tmp_path / "net"
    command = ["import", str(path), "--task", "segmentation", "--labels", "a,b,c,d"]
    assert main([*command, "--out", str(out)]) == 0
    capsys.readouterr()
    pictures = f"folder:{images(tmp_path / 'drive', 12)}"
    (first, *_) = [node.name for node in read_card(out).dag.nodes[1:]]
    assert main(of(out, options(tmp_path / "out", data=pictures, at=first))) == 2
    said = capsys.readouterr().err
    assert "no operator of torch stands for" in said and "QuantizeLinear (at " in said
    assert not list((tmp_path / "out").glob("*"))


def test_without_the_converter_it_says_what_to_install(
    signs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dapdee_ros.engines.onnx_to_torch", None)
    assert main(of(signs, options(tmp_path / "out"))) == 2
    assert "pip install 'dapdee_ros[train]'" in capsys.readouterr().err


def small_set(folder: Path, count: int) -> str:
    """Images with a bright block each, in YOLO's layout."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    (folder / "classes.txt").write_text("car\n")
    for place in range(count):
        image = np.full((40, 40, 3), 5 * place, np.uint8)
        image[10:30, 10:30] = 250
        cv2.imwrite(str(folder / "images" / f"{place}.png"), image)
        (folder / "labels" / f"{place}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    return f"yolo:{folder}"


def test_a_few_images_become_as_many_frames_as_are_asked_for_each_cut_anew(tmp_path: Path) -> None:
    card = read_card(small_detector(tmp_path))
    training = open_frames(small_set(tmp_path / "set", 20), card, 50, 4).training
    assert len(training) == 50
    frames = training.pixels(np.arange(50))
    assert len({frame.tobytes() for frame in frames}) > 40
    assert np.array_equal(training.pixels(np.array([49]))[0], frames[49])
