"""The files in config/, docs/settings.md and the options say what the settings' fields say."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from dapdee_ros.cli import plan, replay, simulate
from dapdee_ros.core.planning_settings import PlanningSettings
from dapdee_ros.core.settings import settings_of
from dapdee_ros.nodes.parameter_files import FILES, ParameterFile, page
from dapdee_ros.planning.policy import policy_names

ROOT = Path(__file__).resolve().parents[2]
WRITE = "write it anew: python -m dapdee_ros.nodes.parameter_files"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.name))
def test_a_parameter_file_is_as_the_code_says(file: ParameterFile) -> None:
    path = ROOT / "config" / f"{file.name}.yaml"
    assert path.read_text(encoding="utf-8") == file.text, WRITE
    assert max(map(len, file.text.splitlines())) <= 200


def test_every_parameter_file_comes_from_the_code() -> None:
    assert {file.name for file in FILES} == {path.stem for path in (ROOT / "config").glob("*.yaml")}


def test_the_page_is_as_the_code_says() -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == page(), WRITE


@pytest.mark.parametrize("command", [plan, simulate, replay], ids=lambda c: str(c.__name__))
def test_options_have_the_settings_defaults(command: object) -> None:
    parser = argparse.ArgumentParser()
    command.configure(parser)  # type: ignore[attr-defined]
    defaults = {action.dest: action.default for action in parser._actions}
    of_settings = {one.name: one.default for one in settings_of(PlanningSettings)}
    # Simulations take several policies, so theirs is a list.
    shared = defaults.keys() & of_settings.keys() - ({"policy"} if command is not plan else set())
    assert len(shared) >= 8
    assert {name: defaults[name] for name in shared} == {name: of_settings[name] for name in shared}


def test_the_settings_name_every_policy_that_can_be_had() -> None:
    (policy,) = (one for one in settings_of(PlanningSettings) if one.name == "policy")
    for name in set(policy_names()) - {"oracle", "edge-only-jpeg"}:
        assert name in policy.help
