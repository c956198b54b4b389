"""One end of the sealed link: the handshake, the peers it has found, sealing and opening.

Three kinds of messages. HELLO, broadcast: announces an end and its nonce, authenticated with the
long-term key. CONFIRM, to one end that has sent a HELLO: the same, authenticated with a key derived
from both nonces, so it cannot be older than the receiver's start; the receiver of a new one answers
with its own. Then sealed messages.

HELLO is answered without storing any state, so that a flood of replayed ones displaces no peer.
Only an end that has confirmed is stored, with its window of counters; one that was evicted for lack
of space is never accepted again.
"""

from __future__ import annotations

import hmac
import math
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from dapdee_ros.sealing.channels import ALIVE, CHANNELS, OPTIONAL, Role, partners
from dapdee_ros.sealing.envelope import BROADCAST, Envelope, EnvelopeError, read_envelope
from dapdee_ros.sealing.key_file import KeyRing, LinkKey, id_text
from dapdee_ros.sealing.session import (
    INTRODUCTION_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
    End,
    Refused,
    Session,
    hello_key,
    read_introduction,
    tag,
)

MOST_PEERS = 64
_MOST_FORGOTTEN = 1024
_FIRST_HELLO_PERIOD_S = 0.25
_EAGER_S = 2.0  # for discovery by the middleware
_LONGEST_HELLO_PERIOD_S = 5.0
_ALIVE_PERIOD_S = 5.0
_SILENCE_S = 12.0
_ANSWERS_PER_S = 20.0
_MOST_ANSWERS = 20.0

FOREIGN_KEY = "message sealed with another key"
UNKNOWN_SENDER = "message from an unknown sender"


@dataclass
class Peer:
    """An end that has proven that it is running and knows a key.

    Attributes:
        end: who it is.
        sessions: those in which it has confirmed, by key id.
        confirmed_s: when it first confirmed.
        heard_s: when its last fresh message arrived.
        sent_s: when a message was last sealed for it.
    """

    end: End
    sessions: dict[int, Session]
    confirmed_s: float
    heard_s: float
    sent_s: float


@dataclass
class Outgoing:
    """Serialised handshake messages to publish.

    Attributes:
        hellos: to everyone.
        to_peers: to one end each.
        new_peers: roles that have just confirmed: latched messages have to be sent to them.
    """

    hellos: list[bytes] = field(default_factory=list)
    to_peers: list[bytes] = field(default_factory=list)
    new_peers: list[Role] = field(default_factory=list)


class Endpoint:
    """One end of the link. Not thread-safe.

    Attributes:
        own: who this end is.
        role: its role.
    """

    def __init__(self, role: Role, ring: KeyRing, now_s: float) -> None:
        """Draw an identity and a nonce.

        Args:
            role: the role of this end.
            ring: its keys.
            now_s: monotonic time in seconds, as in every other call.
        """
        self.role = role
        self.own = End(secrets.randbits(64) or 1, int(role), secrets.token_bytes(NONCE_BYTES))
        self._partners = partners(role)
        self._peers: dict[int, Peer] = {}
        self._forgotten: OrderedDict[int, None] = OrderedDict()
        self._keys: dict[int, LinkKey] = {}
        self._hello_keys: dict[int, bytes] = {}
        self._hello_at_s = now_s
        self._hello_period_s = _FIRST_HELLO_PERIOD_S
        self._greeting_since_s = now_s
        self._answers, self._answers_s = _MOST_ANSWERS, now_s
        self.use(ring, now_s)

    def use(self, ring: KeyRing, now_s: float) -> None:
        """Use these keys from now on; sessions with other keys end."""
        self._keys = {key.key_id: key for key in ring.keys}
        self._hello_keys = {key.key_id: hello_key(key) for key in ring.keys}
        for peer in self._peers.values():
            peer.sessions = {k: s for k, s in peer.sessions.items() if k in self._keys}
        self._peers = {i: peer for i, peer in self._peers.items() if peer.sessions}
        self._hello_at_s, self._hello_period_s = now_s, _FIRST_HELLO_PERIOD_S
        self._greeting_since_s = now_s

    @property
    def key_ids(self) -> tuple[int, ...]:
        """The valid keys' ids, newest first."""
        return tuple(self._keys)

    def peer(self, role: Role, now_s: float) -> Peer | None:
        """The end in this role that messages are sent to; None if there is none.

        The newest that still sends messages, and not simply the last one heard: a delayed message
        may come from an end that is gone.
        """
        found = [peer for peer in self._peers.values() if peer.end.role == role]
        return max(
            found,
            key=lambda peer: (now_s - peer.heard_s <= _SILENCE_S, peer.confirmed_s),
            default=None,
        )

    def missing(self) -> list[Role]:
        """Partner roles in which no end has confirmed, but for those that nobody needs."""
        present = {peer.end.role for peer in self._peers.values()} | OPTIONAL
        return [role for role in sorted(self._partners) if role not in present]

    # --- the handshake --------------------------------------------------------------------------

    def poll(self, now_s: float) -> Outgoing:
        """The messages that are due now; call it a few times per second."""
        outgoing = Outgoing()
        if now_s >= self._hello_at_s:
            outgoing.hellos = self.hellos()
            lonely = bool(self.missing()) or self._shares_too_little(now_s)
            self._hello_at_s = now_s + self._hello_period_s if lonely else math.inf
            if now_s - self._greeting_since_s >= _EAGER_S:
                self._hello_period_s = min(2 * self._hello_period_s, _LONGEST_HELLO_PERIOD_S)
        for role in self._partners:
            peer = self.peer(role, now_s)
            if peer is not None and now_s - peer.sent_s >= _ALIVE_PERIOD_S:
                outgoing.to_peers.append(self._seal_for(peer, ALIVE, b"", now_s))
        return outgoing

    def _shares_too_little(self, now_s: float) -> bool:
        """Whether a key is not yet shared with every partner, as during a rotation."""
        present = [self.peer(role, now_s) for role in self._partners]
        return any(peer and len(peer.sessions) < len(self._keys) for peer in present)

    def hellos(self) -> list[bytes]:
        """HELLO under every valid key."""
        body = self.own.introduction()
        messages = []
        for key_id, key in self._hello_keys.items():
            header = Envelope(key_id, self.own.identity, BROADCAST, 0, b"")
            messages.append(
                Envelope(
                    key_id, self.own.identity, BROADCAST, 0, body + tag(key, header, body)
                ).to_bytes()
            )
        return messages

    def on_hello(self, raw: bytes, now_s: float) -> Outgoing:
        """Handle a HELLO.

        Raises:
            Refused: if it is not authentic.
        """
        outgoing = Outgoing()
        envelope, key = self._envelope(raw)
        if envelope.sender == self.own.identity or key is None:
            return outgoing
        if envelope.receiver != BROADCAST:
            raise Refused("unreadable message", "a greeting that is not a broadcast")
        peer = self._introduced(envelope, self._hello_keys[envelope.key_id])
        if peer.role not in self._partners or peer.identity in self._forgotten:
            return outgoing
        if self._may_answer(now_s):
            session = self._session_with(peer, key)
            outgoing.to_peers.append(self._confirmation(session, peer))
        return outgoing

    def on_session(self, raw: bytes, now_s: float) -> Outgoing:
        """Handle a CONFIRM or a keep-alive.

        Raises:
            Refused: if it is not authentic.
        """
        outgoing = Outgoing()
        envelope, key = self._envelope(raw)
        if envelope.receiver != self.own.identity or key is None:
            return outgoing
        if envelope.counter:
            self._open(ALIVE, envelope, key, now_s)
            return outgoing
        claimed = read_introduction(envelope.sender, bytes(envelope.data[:INTRODUCTION_BYTES]))
        session = self._session_with(claimed, key)
        end = self._introduced(envelope, session.peer_confirmation_key)
        if end.role not in self._partners or end.identity in self._forgotten:
            return outgoing
        peer = self._peers.get(end.identity)
        if peer is None:
            self._make_room()
            peer = self._peers[end.identity] = Peer(end, {}, now_s, now_s, now_s)
        if peer.end == end and envelope.key_id not in peer.sessions:
            peer.sessions[envelope.key_id] = session
            outgoing.to_peers.append(self._confirmation(session, end))
            outgoing.new_peers.append(Role(end.role))
        return outgoing

    def _envelope(self, raw: bytes) -> tuple[Envelope, LinkKey | None]:
        """The envelope, with its key if it is one of ours and the message is not our own."""
        try:
            envelope = read_envelope(raw)
        except EnvelopeError as error:
            raise Refused("unreadable message", str(error)) from None
        if envelope.sender == self.own.identity:
            return envelope, None
        key = self._keys.get(envelope.key_id)
        if key is None:
            own = ", ".join(map(id_text, self._keys))
            raise Refused(
                FOREIGN_KEY, f"its key is {id_text(envelope.key_id)}, this side has {own}"
            )
        return envelope, key

    def _introduced(self, envelope: Envelope, key: bytes) -> End:
        """The end that an authentic handshake message introduces."""
        data = bytes(envelope.data)
        body, sent_tag = data[:INTRODUCTION_BYTES], data[INTRODUCTION_BYTES:]
        end = read_introduction(envelope.sender, body)
        if envelope.counter or len(sent_tag) != TAG_BYTES:
            raise Refused("unreadable message", f"a greeting of {len(data)} bytes")
        if not hmac.compare_digest(tag(key, envelope, body), sent_tag):
            raise Refused("forged message", "a greeting that was not made with our key")
        return end

    def _session_with(self, end: End, key: LinkKey) -> Session:
        """The session with an end: the stored one, or a new one."""
        peer = self._peers.get(end.identity)
        if peer is not None and peer.end == end and key.key_id in peer.sessions:
            return peer.sessions[key.key_id]
        return Session(key, self.own, end)

    def _confirmation(self, session: Session, peer: End) -> bytes:
        body = self.own.introduction()
        header = Envelope(session.key_id, self.own.identity, peer.identity, 0, b"")
        proof = tag(session.own_confirmation_key, header, body)
        return Envelope(
            session.key_id, self.own.identity, peer.identity, 0, body + proof
        ).to_bytes()

    def _may_answer(self, now_s: float) -> bool:
        passed_s = max(0.0, now_s - self._answers_s)
        self._answers = min(_MOST_ANSWERS, self._answers + passed_s * _ANSWERS_PER_S)
        self._answers_s = now_s
        if self._answers < 1:
            return False
        self._answers -= 1
        return True

    def _make_room(self) -> None:
        if len(self._peers) < MOST_PEERS:
            return
        silent = min(self._peers.values(), key=lambda peer: peer.heard_s)
        del self._peers[silent.end.identity]
        self._forgotten[silent.end.identity] = None
        if len(self._forgotten) > _MOST_FORGOTTEN:
            self._forgotten.popitem(last=False)

    # --- what crosses ---------------------------------------------------------------------------

    def seal(self, channel: str, data: bytes, now_s: float) -> bytes | None:
        """Seal a message for the receiver of a channel.

        Args:
            channel: one of ``CHANNELS`` with this end as the sender.
            data: the message, serialised.
            now_s: monotonic seconds.

        Returns:
            The serialised ``Sealed``; None while there is no receiver.
        """
        sender, receiver = CHANNELS[channel]
        if sender != self.role:
            raise ValueError(f"{channel} is sent by {sender.name}, this end is {self.role.name}")
        peer = self.peer(receiver, now_s)
        return None if peer is None else self._seal_for(peer, channel, data, now_s)

    def _seal_for(self, peer: Peer, channel: str, data: bytes, now_s: float) -> bytes:
        # The newest key that it has proven to know.
        session = next(peer.sessions[key] for key in self._keys if key in peer.sessions)
        peer.sent_s = now_s
        return session.seal(channel, data).to_bytes()

    def open(self, channel: str, raw: bytes, now_s: float) -> bytes | None:
        """The content of a serialised ``Sealed``; None if it is for another end.

        Args:
            channel: one of ``CHANNELS`` with this end as the receiver.
            raw: the received bytes.
            now_s: monotonic seconds.

        Raises:
            Refused: if it is not authentic, is a replay, or its sender may not use the channel.
        """
        envelope, key = self._envelope(raw)
        if envelope.receiver != self.own.identity or key is None:
            return None
        return self._open(channel, envelope, key, now_s)

    def _open(self, channel: str, envelope: Envelope, key: LinkKey, now_s: float) -> bytes:
        peer = self._peers.get(envelope.sender)
        if peer is None:
            raise Refused(UNKNOWN_SENDER, f"on {channel}, from {envelope.sender:016x}")
        if channel != ALIVE and CHANNELS[channel] != (peer.end.role, self.role):
            raise Refused("forged message", f"{Role(peer.end.role).name} may not send on {channel}")
        # During a rotation, messages sealed with the new key can overtake its CONFIRM.
        session = peer.sessions.get(key.key_id) or Session(key, self.own, peer.end)
        data = session.open(channel, envelope)
        peer.sessions[key.key_id] = session
        peer.heard_s = now_s
        return data
