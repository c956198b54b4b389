"""The keys of a car and its edge: a file on both machines, readable only by its owner.

A key is 32 random bytes. Its id is derived from it, so that both sides can refer to it without
revealing it. During a rotation a file holds two keys, and both are valid.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEY_BYTES = 32
MOST_KEYS = 2
FORMAT_VERSION = 1
SUFFIX = ".json"

_MOST_FILE_BYTES = 65_536
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class KeyFileError(ValueError):
    """A key file that cannot be used or created; the message says why and what to do."""


@dataclass(frozen=True)
class LinkKey:
    """One key.

    Attributes:
        secret: 32 bytes; never printed.
        created: its creation time, ISO 8601 in UTC.
    """

    secret: bytes = field(repr=False)
    created: str

    @property
    def key_id(self) -> int:
        """Its id on both sides: the first 8 bytes of a hash of it, never 0."""
        digest = hashlib.sha256(b"dapdee link key id\0" + self.secret).digest()
        return int.from_bytes(digest[:8], "big") or 1


@dataclass(frozen=True)
class KeyRing:
    """The keys that are valid for one car and its edge.

    Attributes:
        name: the user's name for the pair.
        keys: newest first, one or (during a rotation) two.
    """

    name: str
    keys: tuple[LinkKey, ...]

    @property
    def key_ids(self) -> tuple[int, ...]:
        """The ids, newest first."""
        return tuple(key.key_id for key in self.keys)


def id_text(key_id: int) -> str:
    """A key's id for display: 16 hexadecimal digits in groups of four."""
    digits = f"{key_id:016x}"
    return "-".join(digits[start : start + 4] for start in range(0, 16, 4))


def new_ring(name: str, now: str) -> KeyRing:
    """A ring with one new key.

    Args:
        name: of the pair.
        now: the time, ISO 8601 in UTC.

    Raises:
        KeyFileError: if the name cannot be a file's.
    """
    if not _NAME.fullmatch(name):
        raise KeyFileError(
            f"a key's name consists of letters, digits, dots, dashes and underscores, not {name!r}"
        )
    return KeyRing(name, (LinkKey(secrets.token_bytes(KEY_BYTES), now),))


def rotated(ring: KeyRing, now: str) -> KeyRing:
    """The ring with a new key in addition to its present one.

    Raises:
        KeyFileError: if a rotation is already in progress.
    """
    if len(ring.keys) >= MOST_KEYS:
        raise KeyFileError(
            f"{ring.name} already has two keys: when both machines have this file, drop the old "
            f"one with `dapdee key rotate {ring.name} --finish`"
        )
    return KeyRing(ring.name, (LinkKey(secrets.token_bytes(KEY_BYTES), now), *ring.keys))


def finished(ring: KeyRing) -> KeyRing:
    """The ring with only its newest key.

    Raises:
        KeyFileError: if it has no other.
    """
    if len(ring.keys) < MOST_KEYS:
        raise KeyFileError(
            f"{ring.name} has only one key: begin with `dapdee key rotate {ring.name}`"
        )
    return KeyRing(ring.name, ring.keys[:1])


def load_ring(path: Path) -> KeyRing:
    """Read a key file.

    Raises:
        KeyFileError: if it is missing, readable by others, corrupt or of an unknown version.
    """
    try:
        # Opened once, so that what is checked is what is read.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise KeyFileError(f"key file {path}: {error.strerror}") from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise KeyFileError(f"key file {path} is not a file")
    with os.fdopen(handle, "rb") as file:
        if status.st_uid not in (os.geteuid(), 0):
            raise KeyFileError(
                f"key file {path} belongs to user {status.st_uid}, expected {os.geteuid()} (this "
                "user) or root: chown it, or create a new key"
            )
        if status.st_mode & 0o077:
            raise KeyFileError(
                f"key file {path} has mode {stat.S_IMODE(status.st_mode):04o}, expected 0600: "
                f"others may have read it. Create a new key, or `chmod 600 {path}` if nobody has"
            )
        if status.st_size > _MOST_FILE_BYTES:
            raise KeyFileError(
                f"key file {path} has {status.st_size} bytes: that is not a key file"
            )
        try:
            return _parse(json.loads(file.read(_MOST_FILE_BYTES)))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            # Not the JSON error's text, which could contain a piece of the key.
            why = str(error) if isinstance(error, KeyFileError) else "corrupt or of another program"
            raise KeyFileError(
                f"key file {path} is not a key file: {why}. Copy it again from the other "
                "machine, or create a new key with `dapdee key new`"
            ) from None


def _parse(values: Any) -> KeyRing:
    if not isinstance(values, dict) or values.get("format") != "dapdee link key":
        raise KeyFileError("its format is not 'dapdee link key'")
    if values.get("version") != FORMAT_VERSION:
        raise KeyFileError(
            f"its version is {values.get('version')!r}, this package knows {FORMAT_VERSION}"
        )
    name, listed = values["name"], values["keys"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise KeyFileError("its name is invalid")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MOST_KEYS:
        raise KeyFileError(f"expected 1 to {MOST_KEYS} keys")
    keys = []
    for entry in listed:
        try:
            secret = base64.b64decode(entry["secret"], validate=True)
        except (binascii.Error, ValueError):
            raise KeyFileError("a key is not base64") from None
        if len(secret) != KEY_BYTES:
            raise KeyFileError(f"a key has {len(secret)} bytes, expected {KEY_BYTES}")
        keys.append(LinkKey(secret, str(entry["created"])[:40]))
    if len({key.secret for key in keys}) != len(keys):
        raise KeyFileError("it contains the same key twice")
    return KeyRing(name, tuple(keys))


def save_new(ring: KeyRing, path: Path) -> None:
    """Write a key file that does not exist yet.

    Raises:
        KeyFileError: if it exists, or cannot be written.
    """
    with _written(ring, path) as draft:
        try:
            os.link(draft, path)  # fails if the name is taken, unlike a rename
        except FileExistsError:
            raise KeyFileError(
                f"{path} already exists: `dapdee key rotate` replaces its key, or choose another "
                "name"
            ) from None


def save_over(ring: KeyRing, path: Path) -> None:
    """Replace a key file atomically.

    Raises:
        KeyFileError: if it cannot be written.
    """
    with _written(ring, path) as draft:
        draft.replace(path)


@contextlib.contextmanager
def _written(ring: KeyRing, path: Path) -> Iterator[Path]:
    text = json.dumps(
        {
            "format": "dapdee link key",
            "version": FORMAT_VERSION,
            "name": ring.name,
            "keys": [
                {
                    "id": id_text(key.key_id),
                    "created": key.created,
                    "secret": base64.b64encode(key.secret).decode(),
                }
                for key in ring.keys
            ],
        },
        indent=2,
    )
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, parents=True)
        # mkstemp creates with mode 0600, so there is no moment at which others could read it.
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        draft = Path(name)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            yield draft
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise KeyFileError(f"cannot write {path}: {error.strerror}") from error
