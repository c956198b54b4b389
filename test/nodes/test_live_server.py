"""The live page's server against clients that mean no good. No ROS here."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from dapdee_ros.nodes import live_server
from dapdee_ros.nodes.live_server import Feed, LiveServer, is_own_name


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    monkeypatch.setattr(live_server, "LONGEST_REQUEST_S", 1.0)
    made = LiveServer("127.0.0.1", 28080, scene=Feed(), whole=Feed(), status=lambda: {"x": 1})
    try:
        yield made
    finally:
        made.close()


def get(server: LiveServer, host: str | None, path: str = "/status.json") -> int:
    """The status of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.putrequest("GET", path, skip_host=True)
        if host is not None:
            connection.putheader("Host", host)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_page_of_another_site_cannot_read_what_is_served(server: LiveServer) -> None:
    for host in (None, "localhost", f"127.0.0.1:{server.port}", "192.168.7.7:8080", "[::1]:80"):
        assert get(server, host) == 200, host
    for host in (
        "evil.example",
        f"evil.example:{server.port}",
        "localhost.evil.example",
        "127.1.x",
    ):
        assert get(server, host) == 421, host


def test_names_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.node", lambda: "Car7")
    for host in ("car7", "CAR7.local:8080", "robot.lab", "::1"):
        assert is_own_name(host, "robot.lab"), host
    assert not is_own_name("car7.evil.example", "0.0.0.0")
    assert not is_own_name("", "")


def test_clients_that_say_nothing_do_not_keep_others_out(server: LiveServer) -> None:
    with ExitStack() as stack:
        idle = []
        for _ in range(live_server.MOST_CONNECTIONS_OF_ONE + 10):
            client = socket.create_connection(("127.0.0.1", server.port), timeout=5)
            idle.append(stack.enter_context(client))
        # Each a byte now and then, so that no single wait is long.
        end_s = time.monotonic() + 3.0
        while time.monotonic() < end_s:
            for client in idle:
                try:
                    client.send(b"G")
                except OSError:
                    continue
            time.sleep(0.2)
        assert get(server, "localhost") == 200


def test_more_connections_than_there_are_places_are_closed_at_once(server: LiveServer) -> None:
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=5))
            for _ in range(live_server.MOST_CONNECTIONS_OF_ONE + 1)
        ]
        asked_s = time.monotonic()
        assert clients[-1].recv(10) == b""
        assert time.monotonic() - asked_s < 0.9


def test_a_request_has_a_bounded_length(server: LiveServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.0\r\n")
        try:
            for number in range(40):
                client.sendall(b"X-%d: " % number + b"x" * 1000 + b"\r\n")
            client.sendall(b"\r\n")
            answer = client.recv(100)
        except OSError:
            return  # closed while it was still sending
        assert answer.startswith(b"HTTP/1.0 431")
