"""The example of docs/policies.md runs as it is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from planning.random_networks import chain_of_design

from dapdee_ros.planning.policy import Problem, Situation, ask, make_policy, policy_names
from dapdee_ros.planning.sites import Hop, car_and_edge

DOCS = Path(__file__).resolve().parents[2] / "docs" / "policies.md"


def test_the_example_is_a_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    package = tmp_path / "mypkg"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "mymod.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    dag, car, edge, rate = chain_of_design()
    problem = Problem(dag, (car, edge), [0.9])
    policy = make_policy("mypkg.mymod:FewestBytes", problem)
    situation = Situation(car_and_edge(), (Hop(rate),), 100.0)
    assert ask(policy, situation, problem).boundary == ("y",)
    assert ask(policy, Situation(car_and_edge(), (Hop(0.0),), 100.0), problem).device_only


def test_every_policy_is_documented() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert [name for name in policy_names() if f"| `{name}` |" not in text] == []
