"""Skip, with the reason, what needs root and namespaces where there are none."""

from __future__ import annotations

import pytest

from dapdee_ros.testbed.veth_link import why_no_link


@pytest.fixture
def namespaces() -> None:
    if reason := why_no_link():
        pytest.skip(reason)
