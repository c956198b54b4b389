"""What entries of files and parameters were called in earlier versions, so that those are read.

The first versions knew classifiers alone, and called what every task has by a classifier's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FORMER = {
    "answer": "class_id",
    "quality": "accuracy",
    "exit_quality": "exit_accuracy",
    "predicted_quality": "predicted_accuracy",
    "expected_quality": "expected_accuracy",
    "quality_floor": "accuracy_floor",
    "quality_tolerance": "accuracy_tolerance",
}
"""Former names by the names of today."""

FORMER_QUALITY_NAME = "accuracy"
"""What quality was called in everything that does not say what its task calls it."""


FORMER_ORACLE = "oracle"
"""Policy that was told the link's future in every log that does not say which was."""

FORMER_SCENE_TRUTH = """std_msgs/Header header
int32 class_id
string<=256 label
"""
"""The message's definition in bags of the first versions."""


def named(values: Mapping[str, Any], name: str) -> Any:
    """An entry of a JSON object, under its name of today or its former one.

    Raises:
        KeyError: naming the entry as it is called today, if it has neither.

    >>> named({"accuracy": 0.9}, "quality"), named({"quality": 0.8}, "quality")
    (0.9, 0.8)
    """
    former = FORMER[name]
    return values[former] if name not in values and former in values else values[name]


def rename(values: dict[str, Any]) -> None:
    """Give the entries of a JSON object that have a former name their name of today."""
    for name, former in FORMER.items():
        if former in values and name not in values:
            values[name] = values.pop(former)
