import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dapdee_ros.cli.main import main
from dapdee_ros.exits.card import read_card
from dapdee_ros.exits.codec_losses import CodecLosses
from dapdee_ros.tasks.task import task_of

pytestmark = pytest.mark.training


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "tiny"
    options = [
        "train", "--model", "roadsigns", "--argument", "width=0.25",
        "--data", "roadsigns", "--size", "32x32",
        "--epochs", "1", "--batch-size", "32", "--frames-per-epoch", "64",
        "--held-out-frames", "20", "--learning-rate", "0.01", "--threads", "1", "--out", str(out),
    ]  # fmt: skip
    assert main(options) == 0
    return out


def test_calibration_is_written_and_shown(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(trained, tmp_path / "tiny")
    capsys.readouterr()
    command = ["calibrate", "--model", str(folder), "--data", "roadsigns", "--frames", "200"]
    assert main([*command, "--codec-frames", "6"]) == 0
    out = capsys.readouterr().out
    assert "exit  accuracy  temperature" in out
    calibration = read_card(folder).calibration
    assert calibration is not None
    assert calibration.frames == 200
    assert sorted(calibration.gates) == [1, 2, 3, 4]
    assert calibration.codecs.frames == 6
    assert set(calibration.codecs.tensors["webp"]) == {"image"}
    name, coded = next(iter(calibration.codecs.tensors["u4z"].items()))
    row = next(line for line in out.splitlines() if line.startswith(f"{name} "))
    assert f" {coded.coded_bytes:.0f} " in row
    # A calibration left over from other weights stops nothing: it is what gets replaced.
    text = (folder / "calibration.json").read_text()
    (folder / "calibration.json").write_text(text.replace(calibration.model_id, "0" * 16))
    assert main([*command, "--codec-frames", "0"]) == 0
    assert read_card(folder).calibration == replace(calibration, codecs=CodecLosses())


def test_a_model_or_data_that_does_not_fit_is_named(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", "--model", "no_such", "--data", "roadsigns"]) == 2
    assert "no model 'no_such'" in capsys.readouterr().err
    assert main(["calibrate", "--model", str(trained), "--data", f"folder:{tmp_path}"]) == 2
    assert "holds 0 class folders" in capsys.readouterr().err
    assert main(["calibrate", "--model", str(trained), "--data", "roadsigns", "--frames", "0"]) == 2
    assert "--frames must be at least 1" in capsys.readouterr().err
    command = ["calibrate", "--model", str(trained), "--data", "roadsigns", "--frames", "3"]
    assert main([*command, "--codec-frames", "-1"]) == 2
    assert "--codec-frames must be at least 0" in capsys.readouterr().err
    assert main([*command, "--codecs", "u8,u9"]) == 2
    assert "there is no codec 'u9'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("task", "quality", "width"),
    [("detection", "mAP", "predictor=8"), ("segmentation", "mean IoU", "heads=[8,8,8]")],
)
def test_detectors_and_segmenters_are_calibrated_on_road_scenes(
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    task: str,
    quality: str,
    width: str,
) -> None:
    out = tmp_path / task
    model = {"detection": "mobile-detector", "segmentation": "mobile-segmenter"}[task]
    options = [
        "train", "--model", model, "--data", "roadscenes", "--size", "96x128",
        "--argument", "widths=[8,8,8,16,16]", "--argument", "blocks=[0,0,0,0]",
        "--argument", "neck=8", "--argument", width, "--epochs", "1", "--batch-size", "4",
        "--frames-per-epoch", "8", "--held-out-frames", "8", "--threads", "1", "--out", str(out),
    ]  # fmt: skip
    assert main(options) == 0
    command = ["calibrate", "--model", str(out), "--data", "roadscenes", "--frames", "24"]
    assert main([*command, "--codec-frames", "2"]) == 0
    assert f"exit  {quality:>8}  temperature" in capsys.readouterr().out
    card = read_card(out)
    calibration = card.calibration
    assert calibration is not None
    assert (calibration.frames, sorted(calibration.gates)) == (12, [1, 2])
    assert len(calibration.confidences) == 3
    assert calibration.codecs.frames == 2
    assert set(calibration.codecs.tensors["jpeg"]) == {"image"}
    assert task_of(card).name == task
    for folder, data in ((out, "roadsigns"), (trained, "roadscenes")):
        assert main(["calibrate", "--model", str(folder), "--data", data, "--frames", "8"]) == 2
        assert (
            "roadscenes, yolo:DIR and coco:DIR are for detection and segmentation, all other"
            in capsys.readouterr().err
        )
