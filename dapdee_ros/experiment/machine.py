"""Description of the machine that an experiment ran on."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dapdee_ros import __version__
from dapdee_ros.runtime.profiling import device_name

_PACKAGES = ("onnxruntime", "torch", "torchvision", "numpy")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, system, versions and date, as JSON values."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": device_name(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_GB": round(memory_bytes / 1e9, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES} | {"dapdee_ros": __version__},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
