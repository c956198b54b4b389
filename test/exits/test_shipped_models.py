"""The models that come with the package, as they are in the source tree."""

from pathlib import Path

import pytest

from dapdee_ros.datasets.roadscenes import CLASSES
from dapdee_ros.datasets.roadsigns import LABELS
from dapdee_ros.datasets.scene_data import RenderedScenes
from dapdee_ros.datasets.sources import open_data
from dapdee_ros.exits.card import read_card
from dapdee_ros.exits.model_folder import load_model, load_module
from dapdee_ros.exits.runnable import load_runnable
from dapdee_ros.process_table import DEFAULT_MODEL
from dapdee_ros.tasks.task import task_of
from dapdee_ros.training.classification import exit_accuracies
from dapdee_ros.training.held_out_answers import answers_by_frame
from dapdee_ros.training.scene_truth import true_detections

MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.mark.parametrize("folder", sorted(p.parent for p in MODELS.glob("*/model.json")))
def test_shipped_models_load_and_say_where_they_come_from(folder: Path) -> None:
    card = load_model(folder).card
    assert card.name == folder.name
    assert len(card.dag.exits) >= 3
    assert card.provenance["command"].startswith("dapdee train --model")
    assert card.calibration is not None
    assert card.calibration.frames >= 1000
    files = {p.name for p in folder.iterdir()} - {"bottlenecks"}
    assert files == {"model.json", "graph.json", "model.onnx", "calibration.json"}


def test_the_sign_classifier_keeps_its_word() -> None:
    folder = MODELS / "roadsigns"
    card, module = load_module(folder)
    assert card.labels == LABELS
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 10e6
    assert card.exit_quality[-1] >= 0.97
    assert card.exit_quality[0] <= card.exit_quality[-1] - 0.1
    # What model.json says is what the weights do, within what 600 frames can tell: three standard
    # deviations.
    came = exit_accuracies(module, open_data("roadsigns", held_out_frames=600).held_out())
    for said, measured in zip(card.exit_quality, came, strict=True):
        assert measured == pytest.approx(said, abs=3 * (said * (1 - said) / 600) ** 0.5)


def test_the_default_detector_keeps_its_word() -> None:
    folder = MODELS / DEFAULT_MODEL
    found = load_runnable(folder)
    card = found.card
    assert card.labels == CLASSES
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 8e6
    assert card.exit_quality[-1] >= 0.6
    assert list(card.exit_quality) == sorted(card.exit_quality)
    assert card.exit_quality[0] <= card.exit_quality[-1] - 0.08
    work = [sum(card.dag.by_name[n].flops for n in card.dag.exit_part(k)) for k in (1, 3)]
    assert work[0] <= 0.35 * work[1]
    task = task_of(card)
    evaluators = [task.evaluator() for _ in card.dag.exits]
    frames = RenderedScenes(card.input_size, held_out_frames=150).held_out()
    shown = (frames[place] for place in range(len(frames)))
    for answers, truth in answers_by_frame(found.engine, task, shown, true_detections):
        for evaluator, answer in zip(evaluators, answers, strict=True):
            evaluator.add(answer, truth)
    # About three standard deviations of an mAP over so few frames.
    for said, evaluator in zip(card.exit_quality, evaluators, strict=True):
        assert evaluator.quality() == pytest.approx(said, abs=0.05)
        assert evaluator.figures()["mAP50"] >= 0.85


def test_a_cut_deep_in_the_sign_classifier_sends_less_than_the_picture() -> None:
    dag = read_card(MODELS / "roadsigns").dag
    whole = dag.by_name[dag.input].output_bytes
    assert whole == 64 * 64 * 3
    backbone = [n for n in dag.nodes if n.name.startswith("backbone.stage") and len(n.shape) == 4]
    assert min(n.output_bytes for n in backbone) <= whole / 4
