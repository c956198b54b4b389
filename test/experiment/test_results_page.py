"""Sections of docs/results.md, each written by its own tool."""

import json
from pathlib import Path

import pytest

from dapdee_ros.experiment.results_page import write_json, write_section


def test_sections_keep_their_places(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "results.md"
    write_section(page, "one", "## One\n\nfirst\n")
    write_section(page, "two", "## Two")
    page.write_text(page.read_text() + "\nby hand\n")
    write_section(page, "one", "## One\n\nanew")
    assert page.read_text().splitlines()[4:] == [
        "<!-- begin one -->", "## One", "", "anew", "<!-- end one -->", "",
        "<!-- begin two -->", "## Two", "<!-- end two -->", "", "by hand",
    ]  # fmt: skip
    assert list(page.parent.iterdir()) == [page]


def test_a_torn_page_is_not_written_over(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_text("<!-- begin one -->\nprecious\n")
    with pytest.raises(ValueError, match="only one of"):
        write_section(page, "one", "new")
    with pytest.raises(ValueError, match="lower-case"):
        write_section(page, "One!", "new")
    assert "precious" in page.read_text()


def test_json_has_no_numbers_that_json_does_not_have(tmp_path: Path) -> None:
    write_json(tmp_path / "a" / "b.json", {"x": 1.5})
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"x": 1.5}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "c.json", {"x": float("nan")})
