"""The examples in docstrings run and print what they say, and the public functions have one."""

import doctest
import importlib
from pathlib import Path

import pytest

from dapdee_ros.codecs import decode, encode
from dapdee_ros.graph.cuts import cuts
from dapdee_ros.graph.trace import trace
from dapdee_ros.planning.policy import make_policy
from dapdee_ros.planning.table import CandidateTable
from dapdee_ros.simulation.link_text import parse_link
from dapdee_ros.simulation.run import simulate

ROOT = Path(__file__).resolve().parents[1]
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "dapdee_ros").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)
PUBLIC = [cuts, trace, encode, decode, CandidateTable.decide, make_policy, parse_link, simulate]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_examples_print_what_they_say(module: str) -> None:
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0, "see the captured output"


@pytest.mark.parametrize("function", PUBLIC, ids=lambda function: function.__qualname__)
def test_public_functions_have_an_example(function: object) -> None:
    assert doctest.DocTestFinder().find(function)[0].examples
