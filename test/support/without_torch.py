"""An environment in which packages seem not to be installed, which notes who asks for them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

MISSING = ("torch", "torchvision", "safetensors")

_MODULE = """
import pathlib, sys, traceback
with pathlib.Path(__file__).with_name("asked").open("a") as file:
    file.write(" ".join(sys.argv) + "\\n" + "".join(traceback.format_stack()))
raise ImportError("No module named " + __name__)
"""


class WithoutTorch:
    """Hides packages from processes with this environment; by default what only training needs.

    Attributes:
        env: the variables to change.
    """

    def __init__(self, folder: Path, missing: Sequence[str] = MISSING) -> None:
        folder.mkdir()
        for name in missing:
            (folder / f"{name}.py").write_text(_MODULE)
        self._asked = folder / "asked"
        self.env = {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}

    def asked(self) -> str:
        """Who asked, and where in the code; empty if nobody did."""
        return self._asked.read_text() if self._asked.exists() else ""
