import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dapdee_ros.cli.main import main
from dapdee_ros.datasets.scene_data import RenderedScenes
from dapdee_ros.datasets.sources import open_data
from dapdee_ros.exits.card import read_card
from dapdee_ros.exits.model_folder import architecture_of, build_multi_exit, load_module
from dapdee_ros.exits.multi_exit import MultiExit
from dapdee_ros.testbed.camera_frames import scene_frames
from dapdee_ros.training.checkpoint import load_checkpoint
from dapdee_ros.training.classification import ClassificationTraining
from dapdee_ros.training.recipe import Recipe
from dapdee_ros.training.training import DivergedError, Training

pytestmark = pytest.mark.training

ROOT = Path(__file__).resolve().parents[2]


def _options(out: Path, *more: str) -> list[str]:
    return [
        "train", "--model", "roadsigns", "--argument", "width=0.25",
        "--data", "roadsigns", "--size", "32x32",
        "--epochs", "2", "--batch-size", "16", "--frames-per-epoch", "64",
        "--held-out-frames", "20", "--learning-rate", "0.01", "--threads", "1",
        "--out", str(out), *more,
    ]  # fmt: skip


def _start(out: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dapdee_ros.cli.main", *_options(out, *more)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_interrupted_and_started_again_gives_the_same_model(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(_options(whole, "--epochs", "3")) == 0
    checkpoint = broken / "checkpoint.safetensors"
    # Once without any warning, after the first epoch.
    process = _start(broken, "--epochs", "3")
    _wait_for(checkpoint, process)
    process.kill()
    process.communicate()
    first = checkpoint.stat().st_mtime_ns
    # Once with Ctrl-C, as soon as it has gone on.
    process = _start(broken, "--epochs", "3")
    assert process.stderr is not None
    assert "resuming at step" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    if process.returncode == 130 and "the same command resumes from there" in said:
        assert checkpoint.stat().st_mtime_ns > first
    if process.returncode != 0:  # otherwise it was done before the signal came
        process = _start(broken, "--epochs", "3")
        out, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
        assert "exit 5:" in out
    ids = [read_card(folder).model_id for folder in (whole, broken)]
    assert ids[0] == ids[1]
    assert not checkpoint.exists()
    # Trained is trained: the same command doesn't start all over.
    assert main(_options(whole, "--epochs", "3")) == 2
    values = json.loads((broken / "model.json").read_text())
    assert values["provenance"]["command"].startswith("dapdee train --model roadsigns")
    assert "20 frames" in values["quality"]["data"]


def _classifier(folder: Path) -> MultiExit:
    module = load_module(folder)[1]
    assert isinstance(module, MultiExit)
    return module


def test_a_training_starts_from_a_stored_model(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(_options(first)) == 0
    # A rate of nothing leaves the weights as they were begun with.
    still = ("--start-from", str(first), "--learning-rate", "0", "--seed", "1")
    assert main(_options(second, *still)) == 0
    one, two = load_module(first)[1], load_module(second)[1]
    for (name, a), (_, b) in zip(one.named_parameters(), two.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    (began,) = read_card(second).provenance["started_from"]
    assert began["model_id"] == read_card(first).model_id
    assert began["command"] == read_card(first).provenance["command"]


def test_of_several_models_a_training_starts_from_the_mean(tmp_path: Path) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert main(_options(first, "--taps", "stage1.neck.2,stage3.neck.2")) == 0
    further = ("--start-from", str(first), "--seed", "1")
    assert main(_options(second, "--taps", "stage3.neck.2", *further)) == 0
    both = ("--start-from", str(first), "--start-from", str(second), "--learning-rate", "0")
    assert main(_options(third, "--taps", "stage1.neck.2,stage3.neck.2", *both)) == 0
    one, two, mean = (_classifier(folder) for folder in (first, second, third))
    pairs = [
        (one.backbone, two.backbone, mean.backbone),
        # Only the first has this exit.
        (one.branches[0], one.branches[0], mean.branches[0]),
        (one.branches[1], two.branches[0], mean.branches[1]),
    ]
    for modules in pairs:
        a, b, c = (dict(module.named_parameters()) for module in modules)
        # Stored in half precision.
        assert all(torch.allclose((a[k] + b[k]) / 2, c[k], atol=1e-3, rtol=1e-3) for k in c)
    assert not torch.equal(one.backbone.classifier.weight, two.backbone.classifier.weight)
    began = read_card(third).provenance["started_from"]
    assert [of["model_id"] for of in began] == [read_card(f).model_id for f in (first, second)]


def test_exits_may_move_when_a_training_starts_from_a_stored_model(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(_options(first, "--taps", "stage1.neck.2,stage3.neck.2")) == 0
    still = ("--start-from", str(first), "--learning-rate", "0", "--seed", "1")
    assert main(_options(second, "--taps", "stage3.neck.2,stage4.neck.2", *still)) == 0
    one, two = _classifier(first), _classifier(second)
    assert one.taps == ("stage1.neck.2", "stage3.neck.2")
    assert two.taps == ("stage3.neck.2", "stage4.neck.2")
    for (name, a), (_, b) in zip(
        one.backbone.named_parameters(), two.backbone.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name
    # What sat on stage 3 moved with it; stage 4 had no exit to begin with.
    third = one.branches[1].state_dict()
    assert all(torch.equal(third[name], b) for name, b in two.branches[0].named_parameters())
    names = [name for name, _ in two.branches[1].named_parameters()]
    assert names
    other = two.branches[1].state_dict()
    assert not all(torch.equal(one.branches[0].state_dict()[name], other[name]) for name in names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "roadsign"], "expected roadsigns, cifar10:DIR or folder:DIR"),
        (["--data", "folder:/nowhere/at/all"], "is not a folder"),
        (["--model", "lenet"], "no network called 'lenet'"),
        (["--taps", "stage9"], "no node 'stage9' to put an exit on"),
        (["--taps", "stem.2", "--exits", "3"], "--taps or --exits, not both"),
        (["--exits", "30"], "29 exits before the deepest asked for"),
        (["--exit-weights", "1,2"], "names 2 weights, the model has 5 exits"),
        (["--exit-weights", "1,x"], "--exit-weights expects comma-separated numbers"),
        (["--argument", "depth=3"], "cannot be built with {'width': 0.25, 'depth': 3}"),
        (["--argument", "depth"], "--argument expects NAME=VALUE, got 'depth'"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--cutmix", "2"], "--cutmix must be from 0 to 1"),
        (["--cycles", "2", "--epochs", "3"], "--epochs 3 cannot be 2 cycles of whole epochs"),
        (["--exits-only", "--start-from", "x", "--cycles", "2"], "batch norms alone"),
        (["--exits-only"], "name its model by --start-from"),
        (["--start-from", "/nowhere"], "model.json is missing"),
        (
            ["--start-from", str(ROOT / "models" / "alexnet-cifar10")],
            "its builder is alexnet-cifar",
        ),
    ],
)
def test_what_cannot_be_trained_is_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(_options(tmp_path, *options)) == 2
    assert message in capsys.readouterr().err


def test_a_diverging_training_stops_and_names_what_to_change(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wild = ["--learning-rate", "1e8", "--epochs", "40", "--no-bf16"]
    assert main(_options(tmp_path / "at_once", *wild)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "the training diverges" in said and "of 160" in said
    for cause in ("learning rate 1e+08", "batches of 16 frames", "--learning-rate", "--batch-size"):
        assert cause in said
    assert not (tmp_path / "at_once" / "model.json").exists()


def test_the_last_good_checkpoint_outlives_a_divergence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = tmp_path / "model" / "checkpoint.safetensors"
    # The rate of a cycle begins low: the first of many epochs is still a good one.
    wild = ["--learning-rate", "1000", "--epochs", "100", "--no-bf16"]
    assert main(_options(tmp_path / "model", *wild)) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"{checkpoint} stays" in said and "--restart" in said
    tensors, state = load_checkpoint(checkpoint)
    assert state["step"] >= 4
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())


def test_broken_weights_are_not_saved_over_good_ones(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = open_data("roadsigns", size=(32, 32), frames_per_epoch=32, held_out_frames=4)
    architecture = architecture_of("roadsigns", len(source.labels), {"width": 0.25}, (), 32, 2)
    model = build_multi_exit({**architecture, "taps": 1}, source.size, source.mean, source.std)
    recipe = Recipe(epochs=2, batch_size=16)
    task = ClassificationTraining(source, recipe, model.exits)
    training = Training(model, task, recipe, tmp_path, {})
    steps = training.run()
    next(steps), next(steps), next(steps)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(DivergedError, match="holds numbers that are not finite at step 4 of 4"):
        training.save()
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def _detector_options(out: Path, *more: str) -> list[str]:
    options = ["train", "--model", "mobile-detector", "--data", "roadscenes", "--out", str(out)]
    options += ["--argument", "widths=[8,8,8,16,16]", "--argument", "blocks=[0,0,0,0]"]
    options += ["--argument", "neck=8", "--argument", "predictor=8", "--size", "64x96"]
    options += ["--frames-per-epoch", "8", "--batch-size", "4", "--held-out-frames", "10"]
    return [*options, "--epochs", "2", "--threads", "1", *more]


def test_a_detector_is_trained_and_its_state_can_be_had_on_the_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, early = tmp_path / "out", tmp_path / "early"
    assert main(_detector_options(out, "--snapshot", str(early))) == 2
    assert "holds no checkpoint yet" in capsys.readouterr().err
    command = [sys.executable, "-m", "dapdee_ros.cli.main", *_detector_options(out)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as training:
        assert training.stderr is not None
        # The first epoch is done when its figures come.
        for line in training.stderr:
            if "held-out mAP" in line:
                break
        training.send_signal(signal.SIGINT)
        training.communicate(timeout=120)
    if training.returncode == 130:  # else it was faster
        assert main(_detector_options(out, "--snapshot", str(early))) == 0
        card = read_card(early)
        assert card.provenance["stopped_at"].endswith("of 4")
        assert (out / "checkpoint.safetensors").exists()
        assert main(_detector_options(out)) == 0
    assert not (out / "checkpoint.safetensors").exists()
    printed = capsys.readouterr().out
    assert "exit 3: mAP" in printed or training.returncode == 0
    card = read_card(out)
    assert card.task == {
        "name": "detection", "decoder": "yolox", "strides": [8, 16, 32], "score": 0.05
    }  # fmt: skip
    assert (len(card.exit_quality), len(card.labels), card.input_size) == (3, 12, (64, 96))
    assert card.provenance["recipe"]["optimiser"] == "adamw"


def _labelled(home: Path, count: int) -> Path:
    """Road scenes in YOLO's layout."""
    done = Path(scene_frames(home, count)["path"])
    assert len(list((done / "images").iterdir())) == count
    return done


def test_a_detector_is_trained_and_calibrated_on_a_data_set_in_yolos_layout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, data = tmp_path / "mine", f"yolo:{_labelled(tmp_path / 'data', 120)}"
    options = [data if option == "roadscenes" else option for option in _detector_options(out)]
    frames = options.index("--frames-per-epoch")
    assert main(options) == 2
    assert "these options are for roadscenes" in capsys.readouterr().err
    del options[frames : frames + 2]
    held_out = options.index("--held-out-frames")
    del options[held_out : held_out + 2]
    assert main(options) == 0
    card = read_card(out)
    assert card.task["name"] == "detection" and len(card.exit_quality) == 3
    assert main(["calibrate", "--model", str(out), "--data", data, "--codec-frames", "0"]) == 0
    assert read_card(out).calibration is not None
    for path in out.glob("*.json"):
        assert str(tmp_path) not in path.read_text(), path
    for path in (tmp_path / "data").rglob("*.bmp"):
        path.write_bytes(b"BM torn")
    capsys.readouterr()
    assert main(["calibrate", "--model", str(out), "--data", data]) == 2
    assert "cannot be read as an image" in capsys.readouterr().err


def test_an_image_that_breaks_during_a_training_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = _labelled(tmp_path / "data", 20)
    options = [
        f"yolo:{home}" if option == "roadscenes" else option
        for option in _detector_options(tmp_path / "mine")
    ]
    for name in ("--frames-per-epoch", "--held-out-frames"):
        place = options.index(name)
        del options[place : place + 2]
    (home / "images" / "0002.bmp").write_bytes(b"BM torn")
    assert main(options) == 2
    said = capsys.readouterr().err
    assert "0002.bmp cannot be read as an image" in said and "Traceback" not in said
    segmenter = [
        "mobile-segmenter" if option == "mobile-detector" else option for option in options
    ]
    assert main(segmenter) == 2
    assert "has no class maps" in capsys.readouterr().err


def test_a_detector_is_trained_further_on_other_frames(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(_detector_options(first)) == 0
    still = ("--start-from", str(first), "--learning-rate", "0", "--average-decay", "0")
    assert main(_detector_options(second, *still, "--seed", "1")) == 0
    one, two = (load_module(folder)[1] for folder in (first, second))
    for (name, a), (_, b) in zip(one.named_parameters(), two.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    (began,) = read_card(second).provenance["started_from"]
    assert began["model_id"] == read_card(first).model_id
    own, other = (RenderedScenes(seed=seed).train(0)[0].image for seed in (0, 1))
    assert not np.array_equal(own, other)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--cutmix", "0.5", "--taps", "a"), "--cutmix, --taps: for classifiers only, roadscenes"),
        (("--size", "100x96"), "multiples of 32 pixels, got 100x96"),
        (("--average-decay", "1"), "--average-decay must be from 0 to below 1, got 1.0"),
        (("--average-decay", "0.9", "--cycles", "2"), "both average weights: choose one"),
        (("--seed", "1000000"), "--seed: road scenes to train on have seeds from 0 to 999999, got"),
        (("--workers", "-1"), "--workers must be at least 0, got -1"),
        (
            ("--model", "resnet18"),
            "no network with exits of its own called 'resnet18': there are mobile-detector",
        ),
    ],
)
def test_options_that_no_detector_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
) -> None:
    assert main([*_detector_options(tmp_path / "out"), *more]) == 2
    assert message in capsys.readouterr().err
