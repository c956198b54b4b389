"""`dapdee bottleneck`: trains, resumes, proposes, and says what is wrong with what it is given."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from bags.made_bags import make_drive

from dapdee_ros.cli.main import main
from dapdee_ros.datasets.sources import RenderedSigns
from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.exits.codec_losses import CodecLosses
from dapdee_ros.planning.from_card import sample_profiles

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]
NODE = "backbone.stage2.neck.2"


def options(out: Path, *more: str, data: str = "roadsigns", at: str = "stage2") -> list[str]:
    return [
        "bottleneck", "roadsigns", "--data", data, "--at", at, "--out", str(out),
        "--steps", "50", "--batch-size", "4", "--channels", "8", "--points", "5",
        "--frames", "40", "--held-out-frames", "20", "--threads", "1", *more,
    ]  # fmt: skip


def about(path: Path) -> dict:
    texts = {entry.key: entry.value for entry in onnx.load_model(path).metadata_props}
    return json.loads(texts["dapdee_bottleneck"])


def weights(path: Path) -> dict[str, bytes]:
    return {t.name: t.raw_data for t in onnx.load_model(path).graph.initializer}


def images(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for place, image in enumerate(RenderedSigns(frames_per_epoch=count).train(0).images):
        cv2.imwrite(str(folder / f"{place}.png"), image[..., ::-1])
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    assert main(options(out)) == 0
    return out / "stage2.onnx"


def test_a_training_ends_as_a_file_that_says_what_its_points_cost_and_lose(trained: Path) -> None:
    card, values = read_card(find_model("roadsigns")), about(trained)
    assert values["name"] == "stage2" and values["model_id"] == card.model_id
    assert values["boundary"] == [NODE] and values["latent_shape"] == [1, 8, 4, 4]
    points = values["points"]
    assert len(points) == 5 and all(len(p["prior"]) == p["channels"] for p in points)
    assert all(sum(row[1:]) == 2**16 and min(row[1:]) >= 1 for p in points for row in p["prior"])
    losses = CodecLosses.from_dict(values["losses"])
    codecs = [f"stage2@{number}" for number in range(1, 6)]
    assert losses.frames == 20 and list(losses.tensors) == codecs
    sizes = [losses.tensors[codec][NODE].coded_bytes for codec in codecs]
    assert sizes == sorted(sizes) and 12 < sizes[0] < sizes[-1] < 200
    assert set(losses.tensors[codecs[0]][NODE].changes) == {2, 3, 4, 5}
    for codec in codecs:
        assert losses.tensors[codec][NODE].encode_share < 0.2
        quantiles = values["losses"]["quantiles"][codec]
        assert len(quantiles) == 5 and quantiles == sorted(quantiles)
    assert not (trained.parent / "stage2.training").exists()
    assert str(trained.parent.parent) not in json.dumps(values), "no paths of this machine"


def test_interrupted_and_started_again_gives_the_same_weights(
    trained: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "dapdee_ros.cli.main", *options(tmp_path)]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    # As soon as the bar shows a first step.
    said = ""
    deadline = time.monotonic() + 120
    while "step/s" not in said and "s/step" not in said:
        said += process.stderr.read(1)
        assert process.poll() is None and time.monotonic() < deadline, said
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=120)
    if process.returncode:  # otherwise it was done before the signal came
        assert process.returncode == 130 and "the same command resumes from there" in rest
        assert not (tmp_path / "stage2.onnx").exists()
        assert main(options(tmp_path)) == 0
    assert weights(tmp_path / "stage2.onnx") == weights(trained)
    assert about(tmp_path / "stage2.onnx")["points"] == about(trained)["points"]


def test_images_without_labels_and_recordings_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = images(tmp_path / "drive", 24)
    (folder / "more").mkdir()
    shutil.move(folder / "3.png", folder / "more")
    assert main(options(tmp_path / "out", data=f"folder:{folder}")) == 0
    said = capsys.readouterr().out
    assert "measured on 2 of 24 images of drive, judged by the network's own answers" in said
    quality = about(tmp_path / "out" / "stage2.onnx")["losses"]["quality"]
    assert quality["stage2@1"]["5"][0] == 1.0, "the deepest exit agrees with itself"
    make_drive(tmp_path / "bag", frames=12)
    more = ["--name", "recorded", "--start-from", str(tmp_path / "out" / "stage2.onnx")]
    assert main(options(tmp_path / "out", *more, data=f"bag:{tmp_path / 'bag'}")) == 0
    assert about(tmp_path / "out" / "recorded.onnx")["provenance"]["started_from"]["name"] == (
        "stage2"
    )
    # At the boundary of the file, and with its points, without training.
    again = ["--name", "again", "--start-from", str(tmp_path / "out" / "stage2.onnx")]
    data, out = f"folder:{folder}", tmp_path / "out"
    assert main(options(out, *again, "--steps", "0", data=data, at="auto")) == 0
    first, second = about(out / "stage2.onnx"), about(out / "again.onnx")
    assert first["points"] == second["points"] and first["boundary"] == second["boundary"]
    assert first["losses"]["quality"]["stage2@5"] == second["losses"]["quality"]["again@5"]
    finer = ["--name", "finer", "--start-from", str(out / "stage2.onnx"), "--finest", "0.5"]
    assert main(options(out, *finer, "--steps", "0", "--points", "7", data=data, at="auto")) == 0
    steps = [point["step"] for point in about(out / "finer.onnx")["points"]]
    assert len(steps) == 7 and min(steps) == 0.5 < min(p["step"] for p in first["points"])


def slow_car(folder: Path) -> list[str]:
    """Profiles of a car that needs a hundred times as long as the edge server."""
    fastest = sample_profiles(read_card(find_model("roadsigns")).model_id)[-1]
    paths = [folder / "car.json", folder / "edge.json"]
    for path, factor in zip(paths, (10.0, 0.1), strict=True):
        seconds = {name: factor * s for name, s in fastest.node_seconds.items()}
        replace(fastest, node_seconds=seconds).save(path)
    return ["--car-profile", str(paths[0]), "--edge-profile", str(paths[1])]


def test_proposals_are_ranked_by_what_they_save(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["--sent-bytes", "40"]
    assert main(["bottleneck", "roadsigns", "--propose", *few, *slow_car(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "(exits" in line]
    saved = [float(line[2:].split()[2].rstrip("%")) for line in lines]
    assert len(lines) >= 5 and saved == sorted(saved, reverse=True) and saved[0] > 0
    assert lines[0].startswith("*") and sum(line.startswith("*") for line in lines) <= 2
    # More than the whole image takes: no plan would use it.
    many = ["--sent-bytes", "100000"]
    assert main(["bottleneck", "roadsigns", "--propose", *many, *slow_car(tmp_path)]) == 2
    assert "a bottleneck would win nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--at", "stage9"], "no node 'stage9'"),
        (["--at", "backbone.stage2.blocks.0.first.2"], "has to send"),
        (["--at", "branches.0.flatten"], "no node|no feature map"),
        (["--at", "stage2,stage3", "--name", "one"], "--name one is one name"),
        (["--points", "4"], "--points must be from 5"),
        (["--channels", "0"], "--channels must be at least 1"),
        (["--finest", "7"], "--finest must be from 0.05 to below 7"),
        (["--finest", "nan"], "--finest must be from 0.05 to below 7"),
        (["--rate-weight", "0"], "--rate-weight must be above 0"),
        (["--name", "Stage2"], "cannot be called 'Stage2'"),
        (["--topic", "image"], "--topic image is for bag:FILE"),
        (["--propose"], "--propose shows what --at auto finds"),
        (["--data", "yolo:/nowhere"], "/nowhere"),
        (["--data", "video:x"], "data 'video:x': expected folder:DIR"),
        (["--start-from", "/nowhere.onnx"], "/nowhere.onnx cannot be read"),
        (["--start-from", str(find_model("roadsigns") / "model.onnx")], "is no bottleneck"),
        (["--steps", "0"], "--steps must be at least 1"),
    ],
)
def test_what_is_wrong_is_named(
    more: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options(tmp_path / "out"), *more]) == 2
    said = capsys.readouterr().err
    assert any(part in said for part in reason.split("|")), said
    assert "Traceback" not in said


def test_folders_with_nothing_or_too_little_in_them_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for data, reason in (
        (empty, "no images in"),
        (tmp_path / "none", "is not a folder"),
        (images(tmp_path / "few", 5), "5 images of few: at least 10 are needed"),
    ):
        assert main(options(tmp_path / "out", data=f"folder:{data}")) == 2
        assert reason in capsys.readouterr().err
    torn = images(tmp_path / "torn", 12)
    (torn / "3.png").write_bytes((torn / "3.png").read_bytes()[:100])
    assert main(options(tmp_path / "out", data=f"folder:{torn}")) == 2
    assert "3.png cannot be read as an image" in capsys.readouterr().err


def test_a_finished_bottleneck_and_a_foreign_checkpoint_are_left_alone(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = trained.read_bytes()
    assert main(options(trained.parent)) == 2
    assert "is a finished bottleneck" in capsys.readouterr().err
    assert trained.read_bytes() == content
    checkpoint = tmp_path / "stage2.training" / "checkpoint.safetensors"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(np.zeros(100, np.uint8).tobytes())
    assert main(options(tmp_path)) == 2
    assert "cannot be read as a checkpoint" in capsys.readouterr().err
