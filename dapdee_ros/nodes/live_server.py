"""The live picture in a browser: a page, an MJPEG stream, single pictures and numbers. No ROS here.

Nothing is drawn or encoded unless somebody looks: a ``Feed`` knows who does.
"""

from __future__ import annotations

import errno
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2

from dapdee_ros.nodes.drawing import Picture

PORTS_TRIED = 21
MOST_STREAMS = 16
_PAGE = Path(__file__).with_name("live_page.html")
_JPEG_QUALITY = 85
_WANTED_S = 2.0
_SLOW_CLIENT_S = 10.0


class ServerError(ValueError):
    """An address that the page cannot be served at; the message says why."""


class Feed:
    """The newest picture of one kind, and whether anybody wants it."""

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
        """Whether somebody looks at it."""
        return self._watchers > 0 or time.monotonic() < self._wanted_until_s

    def offer(self, picture: Picture) -> None:
        """Give the newest picture, uint8 ``(H, W, 3)`` rgb; it must not be changed afterwards."""
        with self._changed:
            self._picture = picture
            self._number += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Wake up all who wait: there will be no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this is open, somebody looks."""
        with self._changed:
            self._watchers += 1
        try:
            yield
        finally:
            with self._changed:
                self._watchers -= 1
                # Whoever comes back at once, as pages do, finds it still drawn.
                self._wanted_until_s = time.monotonic() + _WANTED_S

    def next_jpeg(self, after: int, timeout_s: float) -> tuple[int, bytes] | None:
        """The next picture as JPEG.

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
        with self._encoding:  # once, however many look
            if self._jpeg[0] < number:
                bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
                settings = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
                self._jpeg = number, cv2.imencode(".jpg", bgr, settings)[1].tobytes()
            return self._jpeg

    @property
    def number(self) -> int:
        """Number of the newest picture."""
        return self._number

    @property
    def closed(self) -> bool:
        """Whether it has been closed."""
        return self._closed


class LiveServer:
    """Serves the page in threads of its own until it is closed.

    Args:
        host: address to listen at.
        port: first port to try; if it is taken the next 20 are tried.
        scene: feed of the camera's picture with the answer.
        whole: feed of the whole picture.
        status: gives what ``/status.json`` holds; called on the server's threads.

    Attributes:
        url: where the page is.
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
    daemon_threads = True  # a browser that never closes its stream must not hold up the end
    block_on_close = False


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

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        try:
            if path == "/":
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
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE, explain="No picture was drawn.")
        else:
            self._send(got[1], "image/jpeg")

    def _stream(self, feed: Feed) -> None:
        if not self.streams.acquire(blocking=False):
            self.send_error(
                HTTPStatus.SERVICE_UNAVAILABLE, explain=f"{MOST_STREAMS} others look already."
            )
            return
        try:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            # Browsers show a part when the next one's boundary comes, so it is sent at once.
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
        """Requests are not worth a line in the log."""
