"""Data that lies beside the checkout, in ../shared/data, or where DAPDEE_DATA says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("DAPDEE_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def shared(name: str) -> Path:
    """A file of it; skips the test where it is missing."""
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not in ../shared/data beside the checkout, nor in $DAPDEE_DATA")
    return path
