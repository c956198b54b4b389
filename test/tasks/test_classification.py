"""What the classification task makes of logits, and which answers from outside it believes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dapdee_ros.exits.card import find_model, read_card
from dapdee_ros.tasks.classification import Classification, Classifier
from dapdee_ros.tasks.task import task_of

TASK = Classifier([f"sign{n}" for n in range(8)], (1.0, 3.0))
GOOD = Classification(2, 0.5, (2, 1), (0.5, 0.25))


def test_the_five_likeliest_classes_come_best_first_under_the_exits_temperature() -> None:
    logits = np.array([[0.0, 5.0, 1.0, 4.0, 3.0, 2.0, -1.0, -2.0]], np.float32)
    sharp, soft = TASK.decode([logits], 1), TASK.decode([logits], 2)
    assert sharp.top_classes == soft.top_classes == (1, 3, 4, 5, 2)
    assert sharp.score > soft.score > 1 / 8
    assert soft.score == pytest.approx(math.exp(5 / 3) / np.exp(logits / 3).sum())
    assert TASK.confidence(soft) == soft.score == soft.top_scores[0]
    assert not TASK.misfit(soft)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "no class"),
        (replace(GOOD, class_id=8), "among the 8"),
        (replace(GOOD, class_id=-1), "among the 8"),
        (replace(GOOD, top_classes=(2, 99)), "among the 8"),
        (replace(GOOD, top_classes=(2,)), "1 classes with 2 scores"),
        (replace(GOOD, top_classes=(1,) * 6, top_scores=(0.1,) * 6), "6 classes"),
        (replace(GOOD, score=math.nan), "no probability"),
        (replace(GOOD, score=1.1), "no probability"),
        (replace(GOOD, top_scores=(0.5, -0.1)), "no probability"),
    ],
)
def test_what_cannot_be_an_answer_is_named(answer: Classification | None, words: str) -> None:
    assert words in TASK.misfit(answer)
    assert not TASK.misfit(GOOD)


def test_a_cards_task_has_its_labels_and_its_calibrated_temperatures() -> None:
    card = read_card(find_model("roadsigns"))
    task = task_of(card)
    assert (task.name, task.quality_name) == ("classification", "accuracy")
    logits = np.zeros((1, len(card.labels)), np.float32)
    logits[0, 3] = 2.0
    assert card.calibration is not None
    heat = card.calibration.temperatures[0]
    wanted = np.exp(2.0 / heat) / (np.exp(2.0 / heat) + len(card.labels) - 1)
    assert task.confidence(task.decode([logits], 1)) == pytest.approx(wanted)
