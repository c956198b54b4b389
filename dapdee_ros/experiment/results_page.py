"""docs/results.md: sections that tools write, each its own, between two marks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from dapdee_ros.files import write_whole

_TITLE = "# Results\n\nWritten by the tools that measured; run them again on your machine.\n"
_NAME = re.compile(r"[a-z0-9-]+")


def write_section(page: Path, name: str, text: str) -> None:
    """Put a section's text in its place; a section that is new comes last.

    Args:
        page: the Markdown file; made if it is not there.
        name: of the section, lower-case letters, digits and hyphens.
        text: Markdown, its heading included.

    Raises:
        ValueError: if the name is none, or the page's marks are torn.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"section {name!r}: expected lower-case letters, digits and hyphens")
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    whole = page.read_text(encoding="utf-8") if page.exists() else _TITLE
    section = f"{begin}\n{text.strip()}\n{end}"
    if (begin in whole) != (end in whole):
        raise ValueError(f"{page} has only one of {begin!r} and {end!r}: put the other back")
    if begin in whole:
        before, rest = whole.split(begin, 1)
        whole = before + section + rest.split(end, 1)[1]
    else:
        whole = f"{whole.rstrip()}\n\n{section}\n"
    write_whole(page, whole)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write results as JSON, one key or item of a list a line, so that a change can be seen."""
    lines = [f"{json.dumps(key)}: {_value(value)}" for key, value in values.items()]
    write_whole(path, "{\n" + ",\n".join(lines) + "\n}\n")


def _value(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(json.dumps(v, allow_nan=False) for v in value) + "\n]"
    return json.dumps(value, allow_nan=False)
