"""dapdee import, as a user runs it, up to a plan; and what it says of networks that do not fit."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engines.made_networks import SIDE, Maker, heads, two_outputs
from PIL import Image
from support.shared_data import shared

from dapdee_ros.cli.main import main
from dapdee_ros.exits.card import ModelFolderError, read_card
from dapdee_ros.exits.image_input import InputSpec
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.runtime.network_input import network_input
from dapdee_ros.tasks.detection import Detector
from dapdee_ros.tasks.segmentation import ClassMap
from dapdee_ros.tasks.task import task_of

CUTS = 30
MOST_PIXELS = 0.5


def classifier(softmax: bool = False) -> Maker:
    make = Maker().conv("x", "a", 3, 8).op("Relu", "a", "r").op("GlobalAveragePool", "r", "g")
    make.op("Flatten", "g", "f").op("MatMul", f"f {make.weight('w', 8, 3)}", "logits", "head")
    if softmax:
        return make.op("Softmax", "logits", "chances", axis=1).outputs("chances")
    return make.outputs("logits")


def detector() -> Maker:
    """Puts out (1, boxes, 8): objectness and three classes."""
    make = Maker().conv("x", "a", 3, 8, strides=(4, 4)).op("Sigmoid", "a", "s")
    shape = make.weight("shape", value=np.array([1, 8, -1]))
    make.op("Reshape", f"s {shape}", "flat").op("Transpose", "flat", "boxes", perm=(0, 2, 1))
    return make.outputs("boxes")


def segmenter() -> Maker:
    """Puts out (1, 3, 8, 8): the scores of three classes on cells of two pixels."""
    return Maker().conv("x", "a", 3, 3, strides=(2, 2)).outputs("a")


def imported(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main(["import", *map(str, arguments)]) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def complaint(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main(["import", *map(str, arguments)]) == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said.splitlines()[-1]


def test_a_classifier_becomes_a_folder_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = classifier().save(tmp_path / "net.onnx")
    out = tmp_path / "mine"
    said = imported(
        capsys, path, "--labels", "car,person,sign", "--colour", "bgr", "--scale", "1/128",
        "--mean", "0.5", "--std", "0.2,0.3,0.4", "--out", out,
    )  # fmt: skip
    assert "exit 1     logits (1, 3): 6 legal cuts" in said
    assert f"dapdee profile {out}" in said
    card = read_card(out)
    assert (card.name, card.labels) == ("mine", ("car", "person", "sign"))
    assert card.input_spec == InputSpec(
        (SIDE, SIDE), (0.5, 0.5, 0.5), (0.2, 0.3, 0.4), "stretch", "bgr", 1 / 128
    )
    assert not card.quality_measured
    assert card.provenance["source"] == str(path)
    model = load_runnable(out, "onnxruntime")
    image = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    outputs = model.engine.run({"image": image}, card.dag.exits[0])
    assert task_of(card).decode([outputs["logits"]], 1).class_id in range(3)


def test_a_segmenter_becomes_a_folder_with_its_decoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = segmenter().save(tmp_path / "net.onnx")
    out = tmp_path / "seg"
    names = ("--labels", "road,car,person", "--out", out)
    imported(capsys, path, "--task", "segmentation", "--option", "cell_px=2", *names)
    card = read_card(out)
    assert card.task == {"name": "segmentation", "decoder": "logits", "cell_px": 2}
    model = load_runnable(out, "onnxruntime")
    image = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    outputs = model.engine.run({"image": image}, card.dag.exits[0])
    answer = task_of(card).decode([outputs["a"]], 1)
    assert isinstance(answer, ClassMap) and answer.class_ids.shape == (SIDE // 2, SIDE // 2)
    with pytest.raises(ModelFolderError, match="'cell_px' is 3"):
        task_of(replace(card, task={**card.task, "cell_px": 3}))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--task", "segmentation", "--labels", "a,b"), "with 2 classes reads (1, 2, rows"),
        (("--task", "segmentation"), "a segmenter needs the names of its classes: --labels"),
        (("--decoder", "class_ids", "--labels", "a,b,c"), "'class_ids' reads (1, rows, columns)"),
        (
            ("--task", "segmentation", "--decoder", "yolo", "--labels", "a,b,c"),
            "--decoder yolo is for --task detection",
        ),
        (
            ("--task", "detection", "--decoder", "logits", "--labels", "a,b,c"),
            "--decoder logits is for --task segmentation",
        ),
        (("--decoder", "logits", "--labels", "a,b,c", "--score", "0.5"), "no options ['score']"),
    ],
)
def test_what_does_not_fit_a_segmenter_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], why: str
) -> None:
    path = segmenter().save(tmp_path / "net.onnx")
    assert why in complaint(capsys, path, *options, "--out", tmp_path / "seg")
    assert not (tmp_path / "seg").exists()


def test_a_detector_becomes_a_folder_with_its_decoder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = detector().save(tmp_path / "net.onnx")
    labels = tmp_path / "names.txt"
    labels.write_text("car\nperson\n\nsign\n")
    out = tmp_path / "det"
    imported(
        capsys, path, "--decoder", "yolo", "--labels", labels, "--score", "0.1", "--iou", "0.5",
        "--option", "box_scale=16", "--out", out,
    )  # fmt: skip
    card = read_card(out)
    assert card.task == {
        "name": "detection", "decoder": "yolo", "score": 0.1, "iou": 0.5, "box_scale": 16,
    }  # fmt: skip
    assert (card.input_spec.resize, card.input_spec.pad_value) == ("letterbox", 114)
    task = task_of(card)
    assert isinstance(task, Detector)
    assert (task.labels, task.score) == (("car", "person", "sign"), 0.1)


def test_outputs_become_exits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make = classifier()
    make.op("MatMul", f"f {make.weight('w0', 8, 3)}", "early").op("Relu", "logits", "late")
    path = make.outputs("early", "late").save(tmp_path / "net.onnx")
    out = tmp_path / "mine"
    imported(capsys, path, "--exit", "early", "--exit", "late", "--labels", "a,b,c", "--out", out)
    assert read_card(out).dag.exits == (("early",), ("late",))


def test_without_labels_the_classes_are_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = classifier().save(tmp_path / "net.onnx")
    imported(capsys, path, "--out", tmp_path / "mine")
    assert read_card(tmp_path / "mine").labels == ("0", "1", "2")


def test_what_does_not_fit_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", tmp_path / "none")
    one = classifier().save(tmp_path / "one.onnx")
    boxes = detector().save(tmp_path / "boxes.onnx")
    assert "classifier of 2 classes" in complaint(capsys, one, "--labels", "a,b", *out)
    assert "is it a detector" in complaint(capsys, boxes, *out)
    soft = classifier(softmax=True).save(tmp_path / "soft.onnx")
    assert complaint(capsys, soft, *out).endswith("add --exit head")
    imported(capsys, soft, "--exit", "head", "--out", tmp_path / "soft")
    assert "boxes, 7) or (1, 6, boxes)" in complaint(
        capsys, boxes, "--decoder", "yolo", "--labels", "a,b", *out
    )
    assert "names of its classes: --labels" in complaint(capsys, boxes, "--decoder", "yolo", *out)
    assert "needs --decoder" in complaint(capsys, boxes, "--task", "detection", *out)
    assert "no option" in complaint(
        capsys, boxes, "--decoder", "yolo", "--labels", "a,b,c", "--option", "speed=1", *out
    )
    assert "expected NAME=JSON" in complaint(
        capsys, boxes, "--decoder", "yolo", "--labels", "a,b,c", "--option", "speed", *out
    )
    assert "expected HEIGHTxWIDTH" in complaint(capsys, one, "--input-size", "big", *out)
    assert "three with commas" in complaint(capsys, one, "--mean", "1,2", *out)
    assert "expected a number or a/b" in complaint(capsys, one, "--scale", "1/0", *out)
    assert "std must be 3 positive" in complaint(capsys, one, "--std", "0", *out)
    assert "is no file" in complaint(capsys, "nowhere", *out)
    assert "cannot be read" in complaint(capsys, tmp_path / "nowhere.onnx", *out)
    missing = ("--labels", tmp_path / "none.txt")
    assert "none.txt cannot be read" in complaint(capsys, one, *missing, *out)
    several = two_outputs().save(tmp_path / "two.onnx")
    assert "exits of one output" in complaint(capsys, several, *out)
    assert not (tmp_path / "none").exists()


def test_an_onnx_file_is_imported_without_torch(tmp_path: Path) -> None:
    path = classifier().save(tmp_path / "net.onnx")
    code = f"""
import sys
from dapdee_ros.cli.main import main
assert main(["import", {str(path)!r}, "--out", {str(tmp_path / "mine")!r}]) == 0
print(*sorted({{"torch", "torchvision", "safetensors"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == ""


# Torch networks ----------------------------------------------------------------------------------

FACTORY = """
from torch import nn

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.SiLU())
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.stem(x).mean((2, 3)))

def make():
    return Small()

class Deciding(Small):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)

class ChangesViews(Small):
    def forward(self, x):
        y = self.stem(x)
        view = y[:, :2]
        y.add_(1)
        return self.head((y * view.sum()).mean((2, 3)))

def broken():
    raise RuntimeError("no weights today")

number = 7
"""


def test_a_factory_runs_once_and_its_modules_name_the_nodes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "small_factory.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "small"
    imported(capsys, "small_factory:make", "--input-size", "20x24", "--out", out)
    card = read_card(out)
    assert [node.name for node in card.dag.nodes] == [
        "image", "normalise", "stem.2", "mean", "head",
    ]  # fmt: skip
    assert card.input_size == (20, 24)
    from small_factory import make

    module = make().eval()
    torch.save(module.state_dict(), tmp_path / "state.pth")
    weights = ("--weights", tmp_path / "state.pth")
    imported(capsys, "small_factory:make", "--input-size", "20x24", *weights, "--out", out)
    image = np.random.default_rng(0).integers(0, 256, (1, 20, 24, 3), np.uint8)
    came = load_runnable(out, "onnxruntime").engine.run({"image": image}, ["head"])
    with torch.inference_mode():
        expected = module(torch.from_numpy(image).permute(0, 3, 1, 2) / 255)
    np.testing.assert_allclose(came["head"], expected.numpy(), rtol=1e-4, atol=1e-5)
    given = ("--input-size", "20x24", "--out", tmp_path / "none")
    assert "no weights today" in complaint(capsys, "small_factory:broken", *given)
    assert "gives a int" in complaint(capsys, "small_factory:number", *given)
    assert "No module named" in complaint(capsys, "no_such_package:make", *given)
    assert "give --input-size" in complaint(capsys, "small_factory:make", *given[2:])
    (tmp_path / "bad.pth").write_bytes(b"not a state")
    bad = ("--weights", tmp_path / "bad.pth")
    assert "read safely" in complaint(capsys, "small_factory:make", *bad, *given)
    torch.save({"stem.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    other = ("--weights", tmp_path / "other.pth")
    assert "does not fit" in complaint(capsys, "small_factory:make", *other, *given)


def test_what_torchs_exporter_gets_wrong_without_a_word_is_right_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    (tmp_path / "odd_factory.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    out = ("--input-size", "20x24", "--out", tmp_path / "odd")
    assert "x.sum() > 0" in complaint(capsys, "odd_factory:Deciding", *out)
    imported(capsys, "odd_factory:ChangesViews", *out)
    from odd_factory import ChangesViews

    torch.manual_seed(0)
    module = ChangesViews().eval()
    image = np.random.default_rng(0).integers(0, 256, (1, 20, 24, 3), np.uint8)
    came = load_runnable(tmp_path / "odd", "onnxruntime").engine.run({"image": image}, ["head"])
    with torch.no_grad():
        expected = module(torch.from_numpy(image).permute(0, 3, 1, 2) / 255).numpy()
    np.testing.assert_allclose(came["head"], expected, rtol=1e-4, atol=1e-3)


def test_torchvision_by_name_says_that_its_weights_are_random(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torchvision")
    out = tmp_path / "net"
    name = "torchvision:mobilenet_v3_small"
    said = imported(capsys, name, "--input-size", "64x64", "--out", out)
    assert "RANDOM" in said
    card = read_card(out)
    assert (len(card.labels), card.labels[0], card.input_size) == (1000, "tench", (64, 64))
    assert card.input_spec.mean == (0.485, 0.456, 0.406)
    assert "no network 'nothing'" in complaint(capsys, "torchvision:nothing", "--out", out)


# Two detectors that others trained ---------------------------------------------------------------

DETECTORS = {"yolox_nano.onnx": "yolox", "FastestDet.onnx": "fastestdet"}


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_is_imported_profiled_planned_and_finds_the_same_however_it_is_cut(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, decoder = shared(name), DETECTORS[name]
    out, profile = tmp_path / "det", tmp_path / "car.json"
    score = ("--score", "0.01")
    said = imported(capsys, path, "--decoder", decoder, "--labels", "coco", *score, "--out", out)
    assert "legal cuts" in said and "smallest boundary" in said
    assert main(["profile", str(out), "--out", str(profile), "--budget-s", "0.5"]) == 0
    both = ("--car-profile", str(profile), "--edge-profile", str(profile))
    assert main(["plan", str(out), *both, "--link", "wifi", "--json"]) == 0
    capsys.readouterr()
    model = load_runnable(out, "onnxruntime")
    card, engine = model.card, model.engine
    task = task_of(card)
    assert isinstance(task, Detector)
    with zipfile.ZipFile(shared("coco-sample.zip")) as images:
        photo = images.read("coco-sample/images/val2017/000000000785.jpg")
    rgb = np.asarray(Image.open(io.BytesIO(photo)).convert("RGB"))
    image = network_input(rgb, card.input_spec)
    (outputs,) = card.dag.exits
    whole = task.decode([engine.run({"image": image}, outputs)[n] for n in outputs], 1)
    assert len(whole) > 5 and not task.misfit(whole)
    for boundary in heads(card.dag, CUTS):
        came = engine.run(engine.run({"image": image}, boundary), outputs)
        found = task.decode([came[n] for n in outputs], 1)
        assert found.class_ids.tolist() == whole.class_ids.tolist()
        assert np.abs(found.boxes - whole.boxes).max() <= MOST_PIXELS
        np.testing.assert_allclose(found.scores, whole.scores, atol=1e-4)


def test_a_card_with_options_that_do_not_fit_is_refused_when_it_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = detector().save(tmp_path / "net.onnx")
    out = tmp_path / "det"
    imported(capsys, path, "--decoder", "yolo", "--labels", "a,b,c", "--out", out)
    card = read_card(out)
    for task, why in (
        ({"name": "detection", "decoder": "yolox"}, "reads"),
        ({"name": "detection", "decoder": "magic"}, "no decoder 'magic'"),
        ({"name": "counting"}, "the task 'counting'"),
    ):
        with pytest.raises(ModelFolderError, match=why) as caught:
            task_of(replace(card, task=task))
        assert "model.json" in str(caught.value)


def test_help_explains_decoders(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["import", "--help"])
    said = capsys.readouterr().out
    assert "letterbox_corner" in said and "--decoder" in said and "torchvision:" in said
