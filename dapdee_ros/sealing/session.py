"""The keys of one pair of processes, one per direction, and sealing with them.

Session keys are HKDF-SHA256 (RFC 5869) of the long-term key, salted with both sides' nonces; the
cipher is ChaCha20-Poly1305 (RFC 8439) with the counter as its nonce. A nonce is drawn once per
start of a process, so no two sessions share a key, and counters may start at 1.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dapdee_ros.sealing.envelope import Envelope
from dapdee_ros.sealing.key_file import LinkKey
from dapdee_ros.sealing.replay_window import ReplayWindow

VERSION = 1
NONCE_BYTES = 16
TAG_BYTES = 32  # of the handshake's messages
LAST_COUNTER = 2**64 - 1

_HEADER = struct.Struct(">BQQQQ")
_INTRODUCTION = struct.Struct(f">BB{NONCE_BYTES}s")


class Refused(ValueError):
    """A message that was refused.

    Attributes:
        kind: short reason from a fixed set; the message says more.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class End:
    """One end of the link as known to the other.

    Attributes:
        identity: drawn at its start, 64 bits, never 0.
        role: number of its role.
        nonce: drawn at its start, 16 bytes.
    """

    identity: int
    role: int
    nonce: bytes

    def introduction(self) -> bytes:
        """Version, role and nonce, as the handshake's messages carry them."""
        return _INTRODUCTION.pack(VERSION, self.role, self.nonce)


INTRODUCTION_BYTES = _INTRODUCTION.size


def read_introduction(sender: int, data: bytes) -> End:
    """The end that introduces itself.

    Raises:
        Refused: if it uses another version, or the bytes are not an introduction.
    """
    if len(data) != INTRODUCTION_BYTES or not sender:
        raise Refused("unreadable message", f"an introduction of {len(data)} bytes")
    version, role, nonce = _INTRODUCTION.unpack(data)
    if version != VERSION:
        raise Refused(
            "unreadable message",
            f"version {version} of the sealed link, expected {VERSION}: both sides need the same "
            "version of this package",
        )
    return End(sender, role, nonce)


def tag(key: bytes, envelope: Envelope, body: bytes) -> bytes:
    """HMAC-SHA256 of a handshake message, its header included."""
    return hmac.new(key, _header(envelope) + body, hashlib.sha256).digest()


def hello_key(key: LinkKey) -> bytes:
    """The key that authenticates broadcast introductions."""
    return _derived(key, b"", b"hello")


class Session:
    """Both directions between two ends under one long-term key."""

    def __init__(self, key: LinkKey, own: End, peer: End) -> None:
        """Derive the keys.

        Args:
            key: the long-term key.
            own: this end.
            peer: the other one.
        """
        self.key_id = key.key_id
        ends = sorted((own, peer), key=lambda end: end.identity)
        salt = b"".join(end.nonce for end in ends)

        def derived(what: bytes, sender: End, receiver: End) -> bytes:
            way = struct.pack(
                ">QBQB", sender.identity, sender.role, receiver.identity, receiver.role
            )
            return _derived(key, salt, what + way)

        self.own_confirmation_key = derived(b"confirm", own, peer)
        self.peer_confirmation_key = derived(b"confirm", peer, own)
        self._sealing = ChaCha20Poly1305(derived(b"seal", own, peer))
        self._opening = ChaCha20Poly1305(derived(b"seal", peer, own))
        self._own, self._peer = own.identity, peer.identity
        self._sent = 0
        self._window = ReplayWindow()

    def seal(self, channel: str, data: bytes) -> Envelope:
        """Seal a message; each call takes the next counter."""
        if self._sent >= LAST_COUNTER:
            raise OverflowError("this session's counters are exhausted; restart the process")
        self._sent += 1
        header = Envelope(self.key_id, self._own, self._peer, self._sent, b"")
        sealed = self._sealing.encrypt(_nonce(self._sent), data, _bound(header, channel))
        return Envelope(self.key_id, self._own, self._peer, self._sent, sealed)

    def open(self, channel: str, envelope: Envelope) -> bytes:
        """The content, if it is authentic and not a replay.

        Raises:
            Refused: if not.
        """
        if not self._window.would_accept(envelope.counter):
            raise Refused(
                "repeated message", f"number {envelope.counter} on {channel}, seen before"
            )
        try:
            data = self._opening.decrypt(
                _nonce(envelope.counter), envelope.data, _bound(envelope, channel)
            )
        except InvalidTag:
            raise Refused(
                "forged message", f"{len(envelope.data)} bytes on {channel} cannot be opened"
            ) from None
        self._window.accept(envelope.counter)
        return data


def _derived(key: LinkKey, salt: bytes, what: bytes) -> bytes:
    info = b"dapdee sealed link %d\0" % VERSION + what
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key.secret)


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "big")


def _header(envelope: Envelope) -> bytes:
    return _HEADER.pack(
        VERSION, envelope.key_id, envelope.sender, envelope.receiver, envelope.counter
    )


def _bound(envelope: Envelope, channel: str) -> bytes:
    """What a sealed message is bound to: its header and its channel."""
    return _header(envelope) + channel.encode()
