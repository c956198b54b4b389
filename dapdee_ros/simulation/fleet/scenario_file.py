"""A fleet's scenario from a YAML file: every key is optional, an unknown one is an error.

    seconds: 60
    cells: 4
    servers:
      - {count: 3, slowdown: [0.2, 0.4], rtt_s: [0.004, 0.02]}
      - {count: 1, slowdown: 0.1, down_s: [[20, 30]]}
    cars:
      - {count: 30, rate_hz: 5, deadline_s: 0.4, bursts: [{at_s: 40, for_s: 5, times: 3}]}
      - {count: 10, model: roadsigns, battery_j: 400, energy_weight: 0.05, battery_exponent: 1}

A range such as ``slowdown`` is two numbers, or one for all.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from dapdee_ros.simulation.fleet.scenario import (
    Burst,
    CarGroup,
    FleetScenario,
    Range,
    ServerGroup,
)
from dapdee_ros.simulation.scenario import ScenarioError, Wire

Kind = TypeVar("Kind")

_LISTS: dict[str, type] = {"cars": CarGroup, "servers": ServerGroup, "bursts": Burst}


def read_scenario(path: Path) -> FleetScenario:
    """Read a scenario.

    Raises:
        ScenarioError: if the file is not YAML, or says what makes no sense.
        OSError: if it cannot be read.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path} is no YAML: {' '.join(str(error).split())[:300]}") from error
    return scenario_of({} if values is None else values, str(path))


def scenario_of(values: Any, where: str = "scenario") -> FleetScenario:
    """A scenario from plain values.

    Raises:
        ScenarioError: if they make no sense.

    >>> scenario_of({"cells": 3, "cars": [{"count": 7, "slowdown": 2}]}).cars[0].slowdown
    (2.0, 2.0)
    """
    return _of(FleetScenario, values, where)


def _of(kind: type[Kind], values: Any, where: str) -> Kind:
    if not isinstance(values, Mapping):
        raise ScenarioError(f"{where}: expected keys with values, got {values!r}")
    hints = typing.get_type_hints(kind)
    known = [f.name for f in fields(kind) if hints[f.name] is not Wire]  # type: ignore[arg-type]
    unknown = sorted(set(map(str, values)) - set(known))
    if unknown:
        raise ScenarioError(f"{where}: {unknown[0]!r} is unknown; there are {', '.join(known)}")
    try:
        return kind(**{k: _value(k, hints[k], v, f"{where}: {k}") for k, v in values.items()})
    except ScenarioError as error:
        text = str(error)
        raise ScenarioError(text if text.startswith(where) else f"{where}: {text}") from error


def _value(name: str, hint: Any, value: Any, where: str) -> Any:
    if name in _LISTS:
        items = value if isinstance(value, list) else [value]
        return tuple(_of(_LISTS[name], item, f"{where}[{n}]") for n, item in enumerate(items))
    if name == "codecs":
        items = value if isinstance(value, list) else [value]
        return tuple(map(str, items))
    if name == "down_s":
        items = value if isinstance(value, list) else [value]
        if items and not isinstance(items[0], list):
            items = [items]
        return tuple(_range(item, where, pair=True) for item in items)
    if hint is Range or hint == Range:
        return _range(value, where)
    if hint is str:
        return str(value)
    if value is None and hint == float | None:
        return None
    number = _number(value, where)
    if hint is int:
        if number != int(number):
            raise ScenarioError(f"{where} is {value!r}; expected a whole number")
        return int(number)
    return number


def _range(value: Any, where: str, *, pair: bool = False) -> Range:
    if not isinstance(value, list):
        value = [value] if pair else [value, value]
    if len(value) != 2:
        raise ScenarioError(f"{where} is {value!r}; expected two numbers")
    return _number(value[0], where), _number(value[1], where)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ScenarioError(f"{where} is {value!r}; expected a number")
    return float(value)
