"""Options of the command line from settings: name, default, range and words are the field's."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, TypeVar

from dapdee_ros.core.settings import settings_of

Settings = TypeVar("Settings")


def add_settings(parser: argparse.ArgumentParser, cls: type, names: Sequence[str]) -> None:
    """Declare an option for each of some settings of a class.

    A switch that is off becomes ``--name``, one that is on ``--no-name``.
    """
    known = {one.name: one for one in settings_of(cls)}
    for name in names:
        one = known[name]
        words = name.replace("_", "-")
        # argparse takes a % for the beginning of a format.
        text = one.words.replace("%", "%%")
        if one.kind is bool:
            off = "" if not one.default else "no-"
            text = f"do not: {text}" if one.default else text
            action = "store_false" if one.default else "store_true"
            parser.add_argument(
                f"--{off}{words}", dest=name, action=action, default=one.default, help=text
            )
        else:
            parser.add_argument(
                f"--{words}",
                type=one.kind,
                default=one.default,
                choices=one.choices or None,
                help=f"{text} (default {one.default})",
            )


def settings_from(args: argparse.Namespace, cls: type[Settings], **others: Any) -> Settings:
    """Settings of a class from the options that were declared, ``others`` and defaults.

    Raises:
        SettingError: for a value that makes no sense.
    """
    given = {one.name: getattr(args, one.name, one.default) for one in settings_of(cls)}
    return cls(**(given | others))
