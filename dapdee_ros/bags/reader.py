"""Reads a rosbag2 recording; errors explain what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rosbags.rosbag2 import Reader
from rosbags.serde import SerdeError

from dapdee_ros.bags.errors import BagError
from dapdee_ros.bags.message_types import COMPRESSED_IMAGE, IMAGE, former_message, require_type
from dapdee_ros.bags.metadata import check_metadata

IMAGE_KINDS = (IMAGE, COMPRESSED_IMAGE)

_STORAGE_SUFFIXES = (".mcap", ".db3")
_SHOWN_FILES = 8
_ZSTD = bytes.fromhex("28b52ffd")  # magic number of its frames


@dataclass(frozen=True)
class Topic:
    """One topic of a bag.

    Attributes:
        name: full name.
        kind: message type, ``package/msg/Name``.
        count: number of messages.
    """

    name: str
    kind: str
    count: int


class Bag:
    """A rosbag2 folder, or a single mcap or sqlite3 file of one; a context manager.

    Attributes:
        path: what was opened.
        topics: its topics by name.
        start_ns: time of the first message, in ns.
        end_ns: time of the last.
    """

    def __init__(self, path: str | Path) -> None:
        """Open it and read its metadata.

        Raises:
            BagError: if it is missing, not a rosbag2, corrupt, or empty.
        """
        self.path = Path(path)
        storage = _storage_of(self.path)
        self._reader = _open(storage, self.path)
        self.topics = _topics_of(self._reader)
        parts = _parts_of(storage)
        if not self._counted() and parts:
            # After a recorder was killed the metadata counts nothing; the files do.
            self._reader.close()
            if len(parts) > 1:
                raise BagError(
                    f"metadata.yaml of {self.path} says that it contains no message, of "
                    f"{len(parts)} files: with ROS `ros2 bag reindex {self.path}`, or give one of "
                    f"{', '.join(part.name for part in parts[:_SHOWN_FILES])}"
                )
            self._reader = _open(parts[0], self.path)
            self.topics = _topics_of(self._reader)
        if not self._counted():
            named = f"; it names the topics {', '.join(self.topics)}" if self.topics else ""
            self.close()
            raise BagError(f"the bag {self.path} contains no message{named}")
        self.start_ns = self._reader.start_time
        self.end_ns = self._reader.end_time - 1

    def _counted(self) -> int:
        return sum(topic.count for topic in self.topics.values())

    @property
    def duration_s(self) -> float:
        """Seconds from the first message to the last."""
        return (self.end_ns - self.start_ns) / 1e9

    def of_kind(self, *kinds: str) -> list[Topic]:
        """The non-empty topics of some types."""
        return [t for t in self.topics.values() if t.kind in kinds and t.count]

    def choose(self, kinds: Sequence[str], asked: str | None, option: str, what: str) -> Topic:
        """The requested topic, or the only one of the right type.

        Args:
            kinds: acceptable message types.
            asked: the topic's name, with or without its leading slash; None to choose.
            option: command-line option for the topic, for messages.
            what: the kind of topic, for messages.

        Raises:
            BagError: if there is none or more than one, or the requested one is missing, of another
                type or empty; the message lists the topics.
        """
        fitting = self.of_kind(*kinds)
        if asked is not None:
            topic = self.topics.get(asked) or self.topics.get(f"/{asked.lstrip('/')}")
            if topic is None:
                raise BagError(f"the bag {self.path} has no topic {asked}; {self.listing()}")
            if topic.kind not in kinds:
                raise BagError(
                    f"topic {topic.name} is of type {topic.kind}, expected "
                    f"{' or '.join(kinds)}; {self.listing()}"
                )
            if not topic.count:
                raise BagError(f"topic {topic.name} contains no message; {self.listing()}")
            return topic
        if len(fitting) == 1:
            return fitting[0]
        if not fitting:
            raise BagError(
                f"the bag {self.path} has no {what} ({' or '.join(kinds)}); {self.listing()}"
            )
        raise BagError(
            f"the bag {self.path} has several {what}s: choose with {option}; {self.listing()}"
        )

    def listing(self) -> str:
        """Its topics with types and counts, one per line."""
        width = max((len(name) for name in self.topics), default=0)
        lines = [f"  {t.name:<{width}}  {t.count:>7}  {t.kind}" for t in self.topics.values()]
        return "it holds:\n" + "\n".join(lines)

    def messages(self, *topics: Topic) -> Iterator[tuple[Topic, int, Any]]:
        """Messages of some topics in the order of their times.

        Yields:
            Topic, time of recording in ns, message.

        Raises:
            BagError: if the bag is damaged, with how much could be read.
        """
        for topic in topics:
            store = require_type(topic.kind)
        wanted = {topic.name: topic for topic in topics}
        connections = [c for c in self._reader.connections if c.topic in wanted]
        read = 0
        try:
            for connection, log_ns, data in self._reader.messages(connections):
                try:
                    message = store.deserialize_cdr(data, wanted[connection.topic].kind)
                except SerdeError as error:
                    message = former_message(wanted[connection.topic].kind, data)
                    if message is None:
                        why = self._misfit(wanted[connection.topic], data, error)
                        raise BagError(why) from error
                read += 1
                yield wanted[connection.topic], log_ns, message
        except (BagError, GeneratorExit):
            raise
        except Exception as error:  # a damaged file can make the storages raise anything
            total = sum(topic.count for topic in topics)
            raise BagError(
                f"the bag {self.path} is damaged: after {read} of {total} messages "
                f"{_words(error)}; {_mend(_storage_of(self.path), error)}"
            ) from error

    def _misfit(self, topic: Topic, data: bytes | memoryview, error: SerdeError) -> str:
        if bytes(data[:4]) == _ZSTD:
            return (
                f"the messages of {topic.name} in {self.path} are compressed one by one, which "
                "only the bag's metadata.yaml tells: give the folder with it"
            )
        return (
            f"a message of {topic.name} in {self.path} is not a {topic.kind} as known here "
            f"({_words(error)}): it was recorded with another version of that type, or the bag is "
            "damaged"
        )

    def close(self) -> None:
        """Close it."""
        with suppress(Exception):
            self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _storage_of(path: Path) -> Path:
    """What to open: the folder, or the single file.

    Raises:
        BagError: if there is nothing that could be a bag.
    """
    if not path.exists():
        raise BagError(f"there is no {path}; {_contents(path.parent)}")
    if path.is_dir():
        if (path / "metadata.yaml").is_file():
            return path
        storages = _parts_of(path)
        old = [p for p in sorted(path.iterdir()) if p.suffix == ".bag"]
        if old and not storages:
            raise BagError(
                f"{path} holds bags of ROS 1 ({', '.join(p.name for p in old[:_SHOWN_FILES])}): "
                f"{_convert(old[0])}"
            )
        if len(storages) == 1:
            # Its recorder was killed, or only the storage file was copied.
            return storages[0]
        raise BagError(
            f"{path} is no rosbag2: a folder with metadata.yaml, or one .mcap or .db3 file, was "
            f"expected; {_contents(path)}"
            + (f". With ROS: `ros2 bag reindex {path}`" if storages else "")
        )
    if path.suffix == ".bag":
        raise BagError(f"{path} is a bag of ROS 1; {_convert(path)}")
    if path.name == "metadata.yaml":
        return path.parent
    if path.suffix not in _STORAGE_SUFFIXES:
        raise BagError(
            f"{path} is no rosbag2: expected its folder, or a {' or '.join(_STORAGE_SUFFIXES)} "
            "file (of a compressed bag the folder)"
        )
    return path


def _convert(path: Path) -> str:
    return f"convert it first: `rosbags-convert --src {path} --dst {path.with_suffix('')}`"


def _parts_of(folder: Path) -> list[Path]:
    """The storage files of a bag's folder, by name; none if it is not a folder."""
    if not folder.is_dir():
        return []
    return [p for p in sorted(folder.iterdir()) if p.suffix in _STORAGE_SUFFIXES]


def _topics_of(reader: Reader) -> dict[str, Topic]:
    return {
        name: Topic(name, _kind(info.msgtype), info.msgcount)
        for name, info in sorted(reader.topics.items())
    }


def _open(storage: Path, path: Path) -> Reader:
    check_metadata(storage)
    try:
        reader = Reader(storage)
        reader.open()
    except Exception as error:  # a damaged file can make the storages raise anything
        raise BagError(
            f"the bag {path} cannot be read: {_words(error)}; {_contents(storage)}; "
            f"{_mend(storage, error)}"
        ) from error
    return reader


def _kind(msgtype: str | None) -> str:
    """A type's current name; ROS 2's first releases left out ``msg``."""
    if msgtype is None:
        return "several types"
    return msgtype.replace("/", "/msg/") if msgtype.count("/") == 1 else msgtype


def _words(error: Exception) -> str:
    text = str(error).rstrip(".")
    # The readers' own errors are sentences; for all others the type is shown too.
    return (
        text if type(error).__module__.startswith("rosbags") else f"{type(error).__name__}: {text}"
    )


def _mend(storage: Path, error: Exception) -> str:
    if "metadata" in str(error):
        return "give one of its files instead of the folder, or with ROS: `ros2 bag reindex`"
    files = sorted(storage.iterdir()) if storage.is_dir() else [storage]
    if any(Path(f"{file}-wal").exists() for file in files):
        return "it is being recorded, or its recorder was killed: end the recording first"
    if any(file.suffix == ".mcap" for file in files):
        return "was its recorder killed? `mcap recover` (mcap's own tool) saves the intact part"
    return "was its recorder killed? `sqlite3 FILE .recover` saves the intact part"


def _contents(path: Path) -> str:
    """The content of a path, for messages."""
    if path.is_file():
        return f"the file has {path.stat().st_size} bytes"
    if not path.is_dir():
        return f"there is no folder {path} either"
    entries = [p for p in sorted(path.iterdir()) if not p.name.startswith(".")]
    if not entries:
        return f"the folder {path} is empty"
    shown = [
        f"{p.name}/" if p.is_dir() else f"{p.name} ({p.stat().st_size} bytes)"
        for p in entries[:_SHOWN_FILES]
    ]
    more = f" and {len(entries) - len(shown)} more" if len(entries) > len(shown) else ""
    return f"in {path} there are {', '.join(shown)}{more}"
