"""These tests live in the ROS worlds of the node tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

NODES = Path(__file__).resolve().parents[1] / "nodes"

sys.path[:0] = [str(NODES), str(Path(__file__).parent)]  # for ros_world and services
_spec = importlib.util.spec_from_file_location("node_tests_conftest", NODES / "conftest.py")
assert _spec is not None and _spec.loader is not None
_conftest = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_conftest)

ros = _conftest.ros
pytest_make_collect_report = _conftest.pytest_make_collect_report
