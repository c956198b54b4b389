"""What the recorder makes of a topic whose type somebody else has named."""

from __future__ import annotations

from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray

import dapdee_ros.msg as msg
from dapdee_ros.bags.errors import BagError
from dapdee_ros.nodes.bag_recorder import _message_type

pytestmark = pytest.mark.ros


def test_types_of_message_packages_are_found() -> None:
    assert _message_type("dapdee_ros/msg/Probe") is msg.Probe
    assert _message_type("diagnostic_msgs/msg/DiagnosticArray") is DiagnosticArray


@pytest.mark.parametrize("kind", ["planted/msg/Thing", "planted/code/Thing", "absent/msg/Thing"])
def test_a_type_s_name_imports_nothing_but_messages(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = tmp_path / "imported"
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted" / "__init__.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BagError, match="is not installed here"):
        _message_type(kind)
    assert not trace.exists()
