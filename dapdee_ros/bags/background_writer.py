"""Writes a bag on a separate thread, while messages arrive on others."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rosbags.interfaces import Qos

from dapdee_ros.bags.errors import BagError
from dapdee_ros.bags.writer import BagWriter

_MOST_WAITING_BYTES = 256 << 20


class BackgroundWriter:
    """The same as ``BagWriter``, from any thread; messages are buffered while the disk is slow.

    One thread opens, writes and closes, as sqlite3 requires. When 256 MB are buffered, writers
    block.
    """

    def __init__(self, path: Path, storage: str = "mcap", *, compress: bool = False) -> None:
        """Open it; see ``BagWriter`` for the arguments and what is raised."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bag")
        self._condition = threading.Condition()
        self._waiting_bytes = 0
        self._failure: BagError | None = None
        self._bag = self._thread.submit(BagWriter, path, storage, compress=compress).result()

    @property
    def counts(self) -> dict[str, int]:
        """Messages written so far, by topic; all of them only after the bag is closed."""
        return dict(self._bag.counts)

    def add_topic(self, topic: str, kind: str, qos: Qos | None = None) -> None:
        """Queue a topic's declaration."""
        self._thread.submit(self._bag.add_topic, topic, kind, qos).result()

    def write_raw(self, topic: str, log_ns: int, data: bytes) -> None:
        """Queue a message for writing.

        Raises:
            BagError: if an earlier one could not be written.
        """
        with self._condition:
            self._condition.wait_for(
                lambda: self._waiting_bytes < _MOST_WAITING_BYTES or self._failure is not None
            )
            if self._failure is not None:
                raise self._failure
            self._waiting_bytes += len(data)
        self._thread.submit(self._write, topic, log_ns, data)

    def close(self) -> bool:
        """Write what is buffered and complete the bag; without messages no bag is created.

        Returns:
            Whether there is a bag.

        Raises:
            BagError: if something could not be written.
        """
        try:
            return self._thread.submit(self._close).result()
        finally:
            self._thread.shutdown()

    def _write(self, topic: str, log_ns: int, data: bytes) -> None:
        try:
            if self._failure is None:
                self._bag.write_raw(topic, log_ns, data)
        except BagError as error:
            self._failure = error
        finally:
            with self._condition:
                self._waiting_bytes -= len(data)
                self._condition.notify_all()

    def _close(self) -> bool:
        if not any(self._bag.counts.values()):
            # An empty bag is useless, and would block the next recording of that name.
            self._bag.abort()
            return False
        self._bag.close()
        if self._failure is not None:
            raise self._failure
        return True
