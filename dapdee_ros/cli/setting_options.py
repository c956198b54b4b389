"""Command-line options from settings: name, default, range and help come from the field."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, TypeVar

from dapdee_ros.core.settings import settings_of

Settings = TypeVar("Settings")


def add_settings(parser: argparse.ArgumentParser, cls: type, names: Sequence[str]) -> None:
    """Declare an option for each of these settings of a class.

    A boolean that is off by default becomes ``--name``, one that is on ``--no-name``.
    """
    known = {one.name: one for one in settings_of(cls)}
    for name in names:
        one = known[name]
        words = name.replace("_", "-")
        # argparse interprets % as a format.
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
        SettingError: for an invalid value.
    """
    given = {one.name: getattr(args, one.name, one.default) for one in settings_of(cls)}
    return cls(**(given | others))
