"""Writes a rosbag2 folder atomically: it is complete under its name or does not exist."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import (
    CompressionFormat,
    CompressionMode,
    StoragePlugin,
    Writer,
    WriterError,
)

from dapdee_ros.bags.errors import BagError
from dapdee_ros.bags.message_types import message_types, require_type
from dapdee_ros.files import draft_of

STORAGES: Mapping[str, StoragePlugin] = {
    "mcap": StoragePlugin.MCAP,
    "sqlite3": StoragePlugin.SQLITE3,
}

_VERSION: Final = 9  # of the metadata, as written by Jazzy's rosbag2
_FOREVER = QosTime(9223372036, 854775807)


def offered_qos(depth: int = 10, *, reliable: bool = True, latched: bool = False) -> Qos:
    """The QoS that a player should offer for a topic, in rosbag2's format.

    Args:
        depth: of the history.
        reliable: whether lost messages are resent.
        latched: whether late joiners get the last messages (transient local).
    """
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=_FOREVER,
        lifespan=_FOREVER,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER,
        avoid_ros_namespace_conventions=False,
    )


def check_new_bag(path: Path, storage: str) -> None:
    """Raise BagError unless a bag of this storage can be created there."""
    if storage not in STORAGES:
        raise BagError(f"storage {storage!r} is unknown; expected {' or '.join(STORAGES)}")
    if path.exists():
        raise BagError(f"{path} already exists and is not overwritten: give another name")
    if not path.name:
        raise BagError(f"{str(path)!r} is not a name for a bag: give the name of a new folder")


class BagWriter:
    """Writes messages of any known type; a context manager.

    Everything is written to a hidden folder next to the bag's destination, which is renamed as the
    last step. If the block ends with an exception, nothing remains.

    Attributes:
        path: where the bag will be.
        counts: messages written so far, by topic.
    """

    def __init__(self, path: Path, storage: str = "mcap", *, compress: bool = False) -> None:
        """Open it.

        Args:
            path: the bag's folder, which must not exist.
            storage: ``mcap`` or ``sqlite3``.
            compress: mcap only: compress its chunks with zstd.

        Raises:
            BagError: if the path exists, or cannot be written to.
        """
        check_new_bag(path, storage)
        if compress and storage != "mcap":
            raise BagError(f"bags of storage {storage} are not compressed here; expected mcap")
        self.path = path
        self.counts: dict[str, int] = {}
        self._connections: dict[str, Connection] = {}
        self._draft = draft_of(path)
        try:
            self._draft.mkdir(parents=True, exist_ok=True)
            # The file in the folder is named after it, so the folder already has its final name.
            self._writer = Writer(
                self._draft / path.name, version=_VERSION, storage_plugin=STORAGES[storage]
            )
            if compress:
                self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except (OSError, WriterError) as error:
            shutil.rmtree(self._draft, ignore_errors=True)
            raise BagError(f"cannot write a bag at {path}: {error}") from error

    @property
    def draft(self) -> Path:
        """The bag's path until it is closed."""
        return self._draft

    def add_topic(self, topic: str, kind: str, qos: Qos | None = None) -> None:
        """Declare a topic.

        Args:
            topic: its full name.
            kind: its type, ``package/msg/Name``.
            qos: the QoS that a player should offer; a reliable topic of depth 10 by default.

        Raises:
            BagError: if the type is not known, or the topic was declared before.
        """
        store = require_type(kind)
        try:
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=store, offered_qos_profiles=[qos or offered_qos()]
            )
        except (WriterError, OSError) as error:
            raise BagError(f"cannot record {topic} ({kind}): {error}") from error
        self.counts[topic] = 0

    def write(self, topic: str, log_ns: int, message: Any) -> None:
        """Write a message made by ``new_message``, under a time in ns."""
        kind = self._connections[topic].msgtype
        self.write_raw(topic, log_ns, message_types().serialize_cdr(message, kind))

    def write_raw(self, topic: str, log_ns: int, data: bytes | memoryview) -> None:
        """Write a serialised message (CDR), under a time in ns.

        Raises:
            BagError: if it cannot be written: the disk is full, for example.
        """
        try:
            self._writer.write(self._connections[topic], log_ns, data)
        except Exception as error:  # each storage has its own errors
            raise BagError(f"cannot write to the bag {self.path}: {error}") from error
        self.counts[topic] += 1

    def close(self) -> None:
        """Complete the bag and give it its name.

        Raises:
            BagError: if that fails; what was written stays in ``draft``.
        """
        try:
            self._writer.close()
            if self.path.exists():
                raise BagError(f"{self.path} was created by another process meanwhile")
            (self._draft / self.path.name).rename(self.path)
            self._draft.rmdir()
        except Exception as error:
            raise BagError(
                f"cannot complete the bag {self.path}: {error}; what was written is in "
                f"{self._draft}"
            ) from error

    def abort(self) -> None:
        """Remove everything."""
        self._writer.abort()
        shutil.rmtree(self._draft, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()
