"""The live view in a browser: a page, an MJPEG stream, single images and figures. No ROS here.

Nothing is drawn or encoded unless there are viewers: a ``Feed`` keeps track of them.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import ipaddress
import json
import math
import platform
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import cv2

from dapdee_ros.nodes.drawing import Picture

PORTS_TRIED = 21
MOST_STREAMS = 16
MOST_CONNECTIONS = 64
MOST_CONNECTIONS_OF_ONE = 24
"""Simultaneous connections in total, and from one address."""

LONGEST_REQUEST_S = 10.0
"""Deadline for a client to send its request."""

MOST_REQUEST_BYTES = 16_384
_PAGE = Path(__file__).with_name("live_page.html")
_JPEG_QUALITY = 85
_WANTED_S = 2.0
_SLOW_CLIENT_S = 10.0


class ServerError(ValueError):
    """An address that the page cannot be served at; the message says why."""


class Feed:
    """The newest image of one kind, and whether it has viewers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._encoding = threading.Lock()
        self._picture: Picture | None = None
        self._number = 0
        self._jpeg: tuple[int, bytes] = (0, b"")
        self._watchers = 0
        self._wanted_until_s = 0.0
        self._closed = False

    def wanted(self) -> bool:
        """Whether it has viewers."""
        return self._watchers > 0 or time.monotonic() < self._wanted_until_s

    def offer(self, picture: Picture) -> None:
        """Set the newest image, uint8 ``(H, W, 3)`` rgb; it must not be changed afterwards."""
        with self._changed:
            self._picture = picture
            self._number += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Wake up all waiting clients: there will be no more images."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Counts a viewer while it is open."""
        with self._changed:
            self._watchers += 1
        try:
            yield
        finally:
            with self._changed:
                self._watchers -= 1
                # Keep drawing for a moment, since pages reconnect at once.
                self._wanted_until_s = time.monotonic() + _WANTED_S

    def next_jpeg(self, after: int, timeout_s: float) -> tuple[int, bytes] | None:
        """The next image as JPEG.

        Args:
            after: number of the last one that the caller has had, 0 for none.
            timeout_s: how long to wait for it.

        Returns:
            Its number and its bytes, or None if there was none in time.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._number > after or self._closed, timeout_s)
            number, picture = self._number, self._picture
        if number <= after or picture is None:
            return None
        with self._encoding:  # once, for all viewers
            if self._jpeg[0] < number:
                bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
                settings = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
                self._jpeg = number, cv2.imencode(".jpg", bgr, settings)[1].tobytes()
            return self._jpeg

    @property
    def number(self) -> int:
        """Number of the newest image."""
        return self._number

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._closed


class LiveServer:
    """Serves the page on separate threads until it is closed.

    Args:
        host: address to listen at.
        port: first port to try; if it is taken the next 20 are tried.
        scene: feed of the camera image with the answer.
        whole: feed of the complete view.
        status: returns the content of ``/status.json``; called on the server's threads.

    Attributes:
        url: the page's address.
        port: the port it got.

    Raises:
        ServerError: if no port is free or the address is not this machine's.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        scene: Feed,
        whole: Feed,
        status: Callable[[], dict[str, Any]],
    ) -> None:
        self._feeds = (scene, whole)
        page = _PAGE.read_bytes()
        streams = threading.BoundedSemaphore(MOST_STREAMS)

        class Handler(_Handler):
            pass

        Handler.page, Handler.scene, Handler.whole = page, scene, whole
        Handler.status, Handler.streams = staticmethod(status), streams
        Handler.served_at = host
        self._server = _listen(host, port, Handler)
        self.port = self._server.server_port
        shown = "localhost" if host in ("", "0.0.0.0", "127.0.0.1") else host
        self.url = f"http://{shown}:{self.port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="live page", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """End the streams and stop listening."""
        for feed in self._feeds:
            feed.close()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5.0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a browser that never closes its stream must not delay shutdown
    block_on_close = False
    request_queue_size = (
        MOST_CONNECTIONS  # with the default of 5, further clients wait for their second retry
    )

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._lock = threading.Lock()
        self._open: dict[socket.socket, _Connection] = {}
        super().__init__(address, handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for one more connection; called before it gets a thread."""
        address = client_address[0]
        with self._lock:
            of_one = sum(known.address == address for known in self._open.values())
            if len(self._open) >= MOST_CONNECTIONS or of_one >= MOST_CONNECTIONS_OF_ONE:
                return False
            self._open[request] = _Connection(address, time.monotonic() + LONGEST_REQUEST_S)
            return True

    def asked(self, request: Any) -> None:
        """Record that a connection has sent its request."""
        with self._lock:
            if request in self._open:
                self._open[request].until_s = math.inf

    def shutdown_request(self, request: Any) -> None:
        """End a connection."""
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End connections that are too slow with their request; called a few times per second."""
        now_s = time.monotonic()
        with self._lock:
            late = [known for known, state in self._open.items() if now_s > state.until_s]
        for request in late:
            # Its thread wakes up from waiting for data and ends it.
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)


@dataclass
class _Connection:
    """A connection's client, and the deadline for its request."""

    address: str
    until_s: float


class _Bounded:
    """A client's input, limited to a number of bytes."""

    def __init__(self, file: Any) -> None:
        self._file, self._left = file, MOST_REQUEST_BYTES

    def readline(self, size: int = -1) -> bytes:
        if not self._left:
            raise http.client.HTTPException(f"more than {MOST_REQUEST_BYTES} bytes")
        most = self._left if size < 0 else min(size, self._left)
        line: bytes = self._file.readline(most)
        self._left -= len(line)
        return line

    def close(self) -> None:
        self._file.close()

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)


def is_own_name(host: str, served_at: str) -> bool:
    """Whether a request's ``Host`` names this machine, not a name that merely resolves to it.

    Another site can make its own name resolve to this machine's address and so make a browser read
    what is served here (DNS rebinding). It cannot do so with an address, with ``localhost`` or with
    this machine's own name.

    Args:
        host: the header, with or without a port.
        served_at: the address or name that the server listens on.
    """
    name = host.strip().lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    own = platform.node().lower()
    if name.rstrip(".") in {"localhost", served_at.lower(), own, f"{own}.local"} - {""}:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _listen(host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> _Server:
    last = min(port + PORTS_TRIED - 1, 65535)
    for tried in range(port, last + 1):
        try:
            return _Server((host, tried), handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise ServerError(
                    f"cannot serve the live page at {host}:{tried}: {error.strerror or error}; "
                    "http_host must be an address of this machine"
                ) from error
    raise ServerError(
        f"ports {port} to {last} at {host} are all taken or not allowed: set http_port to "
        "another one, or to 0 for no page"
    )


class _Handler(BaseHTTPRequestHandler):
    """Answers one browser."""

    timeout = _SLOW_CLIENT_S
    page: bytes
    scene: Feed
    whole: Feed
    status: Callable[[], dict[str, Any]]
    streams: threading.BoundedSemaphore
    served_at: str

    def setup(self) -> None:
        """Limit the client's input."""
        super().setup()
        self.rfile = cast(Any, _Bounded(self.rfile))

    def do_GET(self) -> None:
        cast(_Server, self.server).asked(self.request)
        path = urlsplit(self.path).path
        host = self.headers.get("Host", "")
        try:
            if host and not is_own_name(host, self.served_at):
                self.send_error(
                    HTTPStatus.MISDIRECTED_REQUEST,
                    explain="Open this page by the machine's address or its own name.",
                )
            elif path == "/":
                self._send(self.page, "text/html; charset=utf-8")
            elif path == "/status.json":
                self._send(json.dumps(self.status()).encode(), "application/json")
            elif path == "/snapshot.jpg":
                self._send_snapshot()
            elif path == "/stream.mjpg":
                self._stream(self.whole)
            elif path == "/scene.mjpg":
                self._stream(self.scene)
            else:
                self.send_error(
                    HTTPStatus.NOT_FOUND,
                    explain="There are /, /stream.mjpg, /scene.mjpg, /snapshot.jpg, /status.json.",
                )
        except OSError:  # the browser has gone
            self.close_connection = True

    def _send(self, body: bytes, content_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def _send_snapshot(self) -> None:
        with self.whole.watching():
            got = self.whole.next_jpeg(self.whole.number, timeout_s=3.0)
        if got is None:
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, explain="No image was drawn.")
        else:
            self._send(got[1], "image/jpeg")

    def _stream(self, feed: Feed) -> None:
        if not self.streams.acquire(blocking=False):
            self.send_error(
                HTTPStatus.SERVICE_UNAVAILABLE,
                explain=f"{MOST_STREAMS} viewers are already connected.",
            )
            return
        try:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            # Browsers show a part when the next one's boundary arrives, so it is sent at once.
            self.wfile.write(b"--picture\r\n")
            with feed.watching():
                number = 0
                while not feed.closed:
                    got = feed.next_jpeg(number, timeout_s=5.0)
                    if got is None:
                        continue
                    number, jpeg = got
                    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg + b"\r\n--picture\r\n")
        finally:
            self.streams.release()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""
