"""One end of the sealed link: the handshake, the peers it has found, sealing and opening.

Three messages. HELLO, to everybody: here I am, with this nonce; vouched for by the long-term key.
CONFIRM, to one end that has said hello: the same, vouched for by a key that follows from both
nonces, so it cannot be older than the receiver's start; whoever receives a new one answers with its
own. Then what is sealed.

HELLO is answered without keeping anything, so that recorded ones, sent again in masses, take no
peer's place. Only an end that has confirmed is kept, with its window of counters; one that is
forgotten for want of room is never taken on again.
"""

from __future__ import annotations

import hmac
import math
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

from dapdee_ros.sealing.channels import ALIVE, CHANNELS, Role, partners
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
_EAGER_S = 2.0  # in which the middleware has found who is there
_LONGEST_HELLO_PERIOD_S = 5.0
_ALIVE_PERIOD_S = 5.0
_SILENCE_S = 12.0
_ANSWERS_PER_S = 20.0
_MOST_ANSWERS = 20.0

FOREIGN_KEY = "message sealed with another key"
UNKNOWN_SENDER = "message of an unknown sender"


@dataclass
class Peer:
    """An end that has proven to be alive and to know a key.

    Attributes:
        end: who it is.
        sessions: by key id, those in which it has confirmed.
        confirmed_s: when it did so first.
        heard_s: when something fresh of it came last.
        sent_s: when something was sealed for it last.
    """

    end: End
    sessions: dict[int, Session]
    confirmed_s: float
    heard_s: float
    sent_s: float


@dataclass
class Outgoing:
    """Serialised messages of the handshake that are to be published.

    Attributes:
        hellos: to everybody.
        to_peers: to one end each.
        new_peers: roles that have confirmed just now: what is latched has to be sent to them.
    """

    hellos: list[bytes] = field(default_factory=list)
    to_peers: list[bytes] = field(default_factory=list)
    new_peers: list[Role] = field(default_factory=list)


class Endpoint:
    """One end; not for several threads at once.

    Attributes:
        own: who this end is.
        role: its role.
    """

    def __init__(self, role: Role, ring: KeyRing, now_s: float) -> None:
        """Draw an identity and a nonce.

        Args:
            role: what this end is.
            ring: its keys.
            now_s: monotonic seconds, as in every other call.
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
        """Take these keys from now on; sessions of keys that are not among them end."""
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
        """The end in this role that is spoken to; None if there is none.

        The newest that gives signs of life. Not simply the one heard last: a message of an end that
        is gone may have been held back.
        """
        found = [peer for peer in self._peers.values() if peer.end.role == role]
        return max(
            found,
            key=lambda peer: (now_s - peer.heard_s <= _SILENCE_S, peer.confirmed_s),
            default=None,
        )

    def missing(self) -> list[Role]:
        """Partners of whom no end has confirmed."""
        present = {peer.end.role for peer in self._peers.values()}
        return [role for role in sorted(self._partners) if role not in present]

    # --- the handshake --------------------------------------------------------------------------

    def poll(self, now_s: float) -> Outgoing:
        """What is due now: to be called a few times a second."""
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
        """Take a HELLO.

        Raises:
            Refused: if it is not authentic.
        """
        outgoing = Outgoing()
        envelope, key = self._envelope(raw)
        if envelope.sender == self.own.identity or key is None:
            return outgoing
        if envelope.receiver != BROADCAST:
            raise Refused("unreadable message", "a greeting that is not for everybody")
        peer = self._introduced(envelope, self._hello_keys[envelope.key_id])
        if peer.role not in self._partners or peer.identity in self._forgotten:
            return outgoing
        if self._may_answer(now_s):
            session = self._session_with(peer, key)
            outgoing.to_peers.append(self._confirmation(session, peer))
        return outgoing

    def on_session(self, raw: bytes, now_s: float) -> Outgoing:
        """Take a CONFIRM, or a sign of life.

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
        """The envelope, and its key if it is ours and the message is not our own."""
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
        """Who an authentic message of the handshake introduces."""
        data = bytes(envelope.data)
        body, sent_tag = data[:INTRODUCTION_BYTES], data[INTRODUCTION_BYTES:]
        end = read_introduction(envelope.sender, body)
        if envelope.counter or len(sent_tag) != TAG_BYTES:
            raise Refused("unreadable message", f"a greeting of {len(data)} bytes")
        if not hmac.compare_digest(tag(key, envelope, body), sent_tag):
            raise Refused("forged message", "a greeting that nobody with our key has made")
        return end

    def _session_with(self, end: End, key: LinkKey) -> Session:
        """The session with an end: the one that is kept, or a new one."""
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
            channel: one of ``CHANNELS`` of which this end is the sender.
            data: the message, serialised.
            now_s: monotonic seconds.

        Returns:
            The serialised ``Sealed``; None while there is nobody to receive it.
        """
        sender, receiver = CHANNELS[channel]
        if sender != self.role:
            raise ValueError(f"{channel} is said by {sender.name}, this end is {self.role.name}")
        peer = self.peer(receiver, now_s)
        return None if peer is None else self._seal_for(peer, channel, data, now_s)

    def _seal_for(self, peer: Peer, channel: str, data: bytes, now_s: float) -> bytes:
        # The newest key that it has proven to know.
        session = next(peer.sessions[key] for key in self._keys if key in peer.sessions)
        peer.sent_s = now_s
        return session.seal(channel, data).to_bytes()

    def open(self, channel: str, raw: bytes, now_s: float) -> bytes | None:
        """What a serialised ``Sealed`` holds; None if it is for another end.

        Args:
            channel: one of ``CHANNELS`` of which this end is the receiver.
            raw: what came.
            now_s: monotonic seconds.

        Raises:
            Refused: if it is not authentic, came before, or is of somebody who may not say it.
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
            raise Refused("forged message", f"{Role(peer.end.role).name} has no say on {channel}")
        # During a rotation what is sealed with the new key can overtake the CONFIRM under it.
        session = peer.sessions.get(key.key_id) or Session(key, self.own, peer.end)
        data = session.open(channel, envelope)
        peer.sessions[key.key_id] = session
        peer.heard_s = now_s
        return data
