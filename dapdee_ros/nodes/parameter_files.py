"""Generates the files in config/ and the page docs/settings.md from the settings' fields.

python -m dapdee_ros.nodes.parameter_files        writes them, from the source folder
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dapdee_ros.core.fleet_prices import FleetSettings
from dapdee_ros.core.head_settings import HeadSettings
from dapdee_ros.core.link_watch import LinkWatchSettings
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.core.settings import Setting, settings_of
from dapdee_ros.files import write_whole
from dapdee_ros.nodes.model_settings import EdgeModelSettings, ModelSettings
from dapdee_ros.nodes.names import ServedCars, ServerName, UsedServers
from dapdee_ros.nodes.process_settings import (
    CameraSettings,
    EdgeSettings,
    HeadNodeSettings,
    LinkEmulatorSettings,
    LoadMonitorSettings,
    ManagerNodeSettings,
    RunRecorderSettings,
    ViewerSettings,
)
from dapdee_ros.process_table import DEFAULT_MODEL
from dapdee_ros.runtime.ray_settings import RaySettings

_OVERRIDE = "Launch arguments override these values."


@dataclass(frozen=True)
class Section:
    """One node's part of a parameter file.

    Attributes:
        node: its name.
        classes: the classes of its settings, in order.
        values: the file's values that differ from the defaults.
        left_out: settings that do not belong in a file.
    """

    node: str
    classes: tuple[type, ...]
    values: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def settings(self) -> list[Setting]:
        """The node's settings, in order."""
        return [one for cls in self.classes for one in settings_of(cls)]


@dataclass(frozen=True)
class ParameterFile:
    """A file in config/, by its name without .yaml, and its purpose."""

    name: str
    purpose: str
    sections: tuple[Section, ...]

    @property
    def text(self) -> str:
        """The file."""
        lines = [
            f"# {self.purpose} {_OVERRIDE}",
            "# Generated from the code; see docs/settings.md.",
        ]
        for section in self.sections:
            # A wildcard, so that the file also applies to a node in a namespace.
            lines += [f"/**/{section.node}:", "  ros__parameters:"]
            for one in section.settings:
                if one.name not in section.left_out:
                    value = section.values.get(one.name, one.default)
                    lines.append(_line(one, value))
        return "\n".join(lines) + "\n"


FILES = (
    ParameterFile("camera", "The camera.", (Section("camera", (CameraSettings,)),)),
    ParameterFile(
        "head",
        "The car's inference node.",
        (Section("head", (ModelSettings, HeadSettings, HeadNodeSettings, UsedServers)),),
    ),
    ParameterFile(
        "manager",
        "The small process on the car: partition manager, link monitor, load monitor.",
        (
            Section("partition_manager", (ManagerNodeSettings, PlanningSettings, UsedServers)),
            Section("link_monitor", (LinkWatchSettings, UsedServers)),
            Section("load_monitor", (LoadMonitorSettings,)),
        ),
    ),
    ParameterFile(
        "edge",
        "The edge's processes: inference and its load monitor.",
        (
            Section("edge", (EdgeModelSettings, ServedCars, ServerName, EdgeSettings, RaySettings)),
            Section(
                "edge_load_monitor",
                (LoadMonitorSettings, ServedCars, ServerName),
                {"machine": "edge"},
            ),
        ),
    ),
    ParameterFile(
        "fleet",
        "The fleet's prices.",
        (Section("fleet", (ServedCars, UsedServers, FleetSettings)),),
    ),
    ParameterFile(
        "link_emulator",
        "The emulated radio link.",
        (Section("link_emulator", (LinkEmulatorSettings, UsedServers), left_out=("far_prefix",)),),
    ),
    ParameterFile(
        "viewer",
        "The live view.",
        (Section("viewer", (ViewerSettings,), {"model": DEFAULT_MODEL}),),
    ),
)


def page() -> str:
    """docs/settings.md: every setting of every node."""
    parts = [
        "# Settings",
        "Every parameter of every node: its default, its range, and when a new value takes "
        "effect (`ros2 param set`). Parameter files in `config/` and launch arguments set them "
        "at startup ([launch.md](launch.md)). Options of `dapdee simulate`, `replay` and `plan` "
        "for "
        "the same settings have the same names (`--deadline-s`) and defaults.",
        "This page and the files in `config/` are generated from the fields of the classes named "
        "below, by `python -m dapdee_ros.nodes.parameter_files`.",
    ]
    alone = ParameterFile("", "", (Section("run_recorder", (RunRecorderSettings,)),))
    for file in (*FILES, alone):
        for section in file.sections:
            where = f", `config/{file.name}.yaml`" if file.name else ""
            parts.append(f"## {section.node}{where}")
            parts += [_table(cls, section) for cls in section.classes]
    return "\n\n".join("\n".join(textwrap.wrap(p, 140)) if p[0].isalpha() else p for p in parts) + (
        "\n"
    )


def write(root: Path) -> None:
    """Write all of them below the source folder."""
    for file in FILES:
        write_whole(root / "config" / f"{file.name}.yaml", file.text)
    write_whole(root / "docs" / "settings.md", page())


def _line(one: Setting, value: Any) -> str:
    head = f"    {one.name}: {_yaml(value)}"
    return f"{head:<27}  # {one.words}"


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "[" + ", ".join(_yaml(item) for item in value) + "]"
    if value == "" or value == "{}":
        return f'"{value}"'
    return str(value)


def _table(cls: type, section: Section) -> str:
    rows = [
        f"`{cls.__module__}.{cls.__name__}`",
        "",
        "| parameter | default | range | takes effect | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in settings_of(cls):
        value = section.values.get(one.name, one.default)
        rows.append(
            f"| `{one.name}` | `{_yaml(value)}` | {one.expected} | {one.when} | {one.help} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    write(Path(__file__).resolve().parents[2])
