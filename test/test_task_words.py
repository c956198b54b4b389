"""What belongs to one task stands in tasks/ and where its networks are trained, nowhere else."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dapdee_ros"
# Training and calibrating classifiers, what was measured with them, names of earlier versions.
ACCURACY = {
    "cli/calibrate.py", "exits/calibration.py", "training/starting_point.py",
    "experiment/simulated_answers.py", "experiment/testbed_answers.py",
    "training/classification.py", "former_names.py",
}  # fmt: skip


def speakers(word: str) -> list[str]:
    """Files of the package outside ``tasks/``, and messages and parameter files, with a word."""
    paths = [p for p in PACKAGE.rglob("*") if p.suffix in (".py", ".html")]
    paths += [*ROOT.glob("msg/*.msg"), *ROOT.glob("config/*.yaml")]
    return sorted(
        str(path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT))
        for path in paths
        if path.parent != PACKAGE / "tasks"
        and re.search(word, path.read_text(encoding="utf-8"), re.IGNORECASE)
    )


# Backbones of classifiers, their training and calibration; an operator's name, a torchvision
# argument; the messages' own fields; names of earlier versions.
CLASSES = {
    "bags/shown_answers.py", "cli/calibrate.py", "cli/import_.py", "exits/builders.py",
    "exits/calibration.py",
    "exits/card.py", "training/detection_loss.py", "exits/detector.py", "exits/gates.py",
    "training/losses.py", "exits/multi_exit.py", "training/segmentation_loss.py",
    "exits/segmenter.py", "training/classification.py", "training/detection.py",
    "training/segmentation.py", "exits/networks.py", "exits/added_exits.py",
    "training/held_out_answers.py", "training/bottlenecks/distillation.py",
    "training/bottlenecks/judging.py", "training/bottlenecks/prior.py",
    "engines/onnx_flops.py", "experiment/subjects.py", "former_names.py",
    "graph/flops.py", "msg/InferenceResult.msg", "msg/SceneTruth.msg", "nodes/vision_topics.py",
}  # fmt: skip
EXCEPTIONS = {"accurac": ACCURACY, "logit|softmax|class_id|top_class|top_score": CLASSES}


@pytest.mark.parametrize("word", EXCEPTIONS)
def test_a_classifiers_words_are_its_own(word: str) -> None:
    assert {*speakers(word)} <= EXCEPTIONS[word]


@pytest.mark.parametrize("word", EXCEPTIONS)
def test_every_exception_is_one(word: str) -> None:
    assert {*speakers(word)} >= EXCEPTIONS[word]
