"""The handshake and what is sealed, against an adversary who records, alters, repeats and invents.

No ROS in here: messages are handed from end to end by hand.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable

import pytest

from dapdee_ros.sealing.channels import Role
from dapdee_ros.sealing.endpoint import (
    FOREIGN_KEY,
    MOST_PEERS,
    UNKNOWN_SENDER,
    Endpoint,
    Outgoing,
)
from dapdee_ros.sealing.envelope import Envelope, read_envelope
from dapdee_ros.sealing.key_file import KeyRing, finished, new_ring, rotated
from dapdee_ros.sealing.session import Refused

NOW = "2026-01-01T00:00:00Z"
RING = new_ring("pair", NOW)


class Air:
    """Carries the handshake's messages between ends until nobody has any more to say."""

    def __init__(self, *ends: Endpoint) -> None:
        self.ends = list(ends)
        self.hellos: list[bytes] = []
        self.sessions: list[bytes] = []

    def settle(self, now_s: float = 0.0) -> None:
        waiting = [end.poll(now_s) for end in self.ends]
        for _ in range(10):
            replies: list[Outgoing] = []
            for outgoing in waiting:
                self.hellos += outgoing.hellos
                self.sessions += outgoing.to_peers
                for end in self.ends:
                    for raws, take in (
                        (outgoing.hellos, end.on_hello),
                        (outgoing.to_peers, end.on_session),
                    ):
                        for raw in raws:
                            try:
                                replies.append(take(raw, now_s))
                            except Refused as refused:
                                assert refused.kind == FOREIGN_KEY
            waiting = [r for r in replies if r.hellos or r.to_peers]
        assert not waiting


def pair(ring: KeyRing = RING) -> tuple[Endpoint, Endpoint, Air]:
    head, edge = Endpoint(Role.HEAD, ring, 0.0), Endpoint(Role.EDGE, ring, 0.0)
    air = Air(head, edge)
    air.settle()
    return head, edge, air


def sealed(end: Endpoint, channel: str, data: bytes, now_s: float = 1.0) -> bytes:
    raw = end.seal(channel, data, now_s)
    assert raw is not None
    return raw


def refusal(take: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(Refused) as refused:
        take(*arguments)
    return refused.value.kind


def altered(raw: bytes, **changed: int | bytes) -> bytes:
    envelope = read_envelope(raw)
    fields = {
        name: getattr(envelope, name)
        for name in ("key_id", "sender", "receiver", "counter", "data")
    }
    return Envelope(**{**fields, **changed}).to_bytes()


def test_what_one_end_seals_the_other_opens_in_both_directions() -> None:
    head, edge, _ = pair()
    for number in range(3):
        tensor = bytes([number]) * 1000
        raw = sealed(head, "head_tensor", tensor)
        assert tensor[:50] not in raw
        assert edge.open("head_tensor", raw, 1.0) == tensor
        assert head.open("edge_result", sealed(edge, "edge_result", b"answer"), 1.0) == b"answer"
    assert edge.open("head_tensor", sealed(head, "head_tensor", b""), 1.0) == b""


def test_nothing_is_sealed_before_somebody_has_proven_to_be_there() -> None:
    head = Endpoint(Role.HEAD, RING, 0.0)
    assert head.seal("head_tensor", b"frame", 0.0) is None
    assert head.missing() == [Role.EDGE]
    edge = Endpoint(Role.EDGE, RING, 0.0)
    for raw in edge.hellos():
        head.on_hello(raw, 0.0)
    # A greeting may be an old one: nothing is sent on its word.
    assert head.seal("head_tensor", b"frame", 0.0) is None


def test_an_end_seals_only_what_it_has_to_say() -> None:
    head, edge, _ = pair()
    with pytest.raises(ValueError, match="EDGE, this end is HEAD"):
        head.seal("edge_result", b"forged", 0.0)
    assert edge.missing() == [Role.MANAGER]


def test_every_bit_counts() -> None:
    head, edge, _ = pair()
    raw = sealed(head, "head_tensor", b"a frame")
    for position in range(len(raw)):
        for bit in (0, 7):
            if 2 <= position < 4:
                continue  # options of the encapsulation, which say nothing
            broken = bytearray(raw)
            broken[position] ^= 1 << bit
            try:
                opened = edge.open("head_tensor", bytes(broken), 1.0)
            except Refused:
                continue
            assert opened is None, position  # for another receiver
    assert edge.open("head_tensor", raw, 1.0) == b"a frame"


def test_a_message_cut_short_or_blown_up_is_refused() -> None:
    head, edge, _ = pair()
    raw = sealed(head, "head_tensor", b"a frame")
    for length in range(len(raw)):
        assert refusal(edge.open, "head_tensor", raw[:length], 1.0) in ("unreadable message",)
    assert refusal(edge.open, "head_tensor", raw + bytes(4), 1.0) == "unreadable message"
    for data in (b"", bytes(15), bytes(16)):
        assert refusal(edge.open, "head_tensor", altered(raw, data=data), 1.0) == "forged message"


def test_a_repeated_message_is_opened_once() -> None:
    head, edge, _ = pair()
    raw = sealed(head, "head_tensor", b"a frame")
    assert edge.open("head_tensor", raw, 1.0) == b"a frame"
    for _ in range(3):
        assert refusal(edge.open, "head_tensor", raw, 1.0) == "repeated message"


def test_messages_may_overtake_each_other_within_the_window() -> None:
    head, edge, _ = pair()
    sent = [sealed(head, "head_tensor", bytes([n % 256])) for n in range(2000)]
    for number in (900, 899, 1000, 0, 1):
        assert edge.open("head_tensor", sent[number], 1.0) == bytes([number % 256])
    assert edge.open("head_tensor", sent[1999], 1.0) == bytes([1999 % 256])
    # 1,024 behind the newest nobody remembers what came.
    assert refusal(edge.open, "head_tensor", sent[975], 1.0) == "repeated message"
    assert edge.open("head_tensor", sent[976], 1.0) == bytes([976 % 256])


@pytest.mark.parametrize("counter", [0, 2, 2**63, 2**64 - 1])
def test_a_counter_that_was_not_sealed_is_refused_and_moves_no_window(counter: int) -> None:
    head, edge, _ = pair()
    raw = sealed(head, "head_tensor", b"a frame")
    assert refusal(edge.open, "head_tensor", altered(raw, counter=counter), 1.0) in (
        "forged message",
        "repeated message",
    )
    assert edge.open("head_tensor", raw, 1.0) == b"a frame"


def test_a_message_sent_back_to_its_sender_does_nothing() -> None:
    head, edge, air = pair()
    raw = sealed(head, "head_tensor", b"a frame")
    assert head.open("edge_result", raw, 1.0) is None
    turned = altered(raw, sender=edge.own.identity, receiver=head.own.identity)
    assert refusal(head.open, "edge_result", turned, 1.0) == "forged message"
    for hello in air.hellos:
        head.on_hello(hello, 1.0)
    (own,) = head.hellos()
    assert head.on_hello(own, 1.0) == Outgoing()


def test_a_message_on_another_channel_is_refused() -> None:
    manager, edge = Endpoint(Role.MANAGER, RING, 0.0), Endpoint(Role.EDGE, RING, 0.0)
    Air(manager, edge).settle()
    profile = sealed(edge, "edge/profile", b"profile")
    echo = sealed(edge, "probe_echo", b"echo")
    assert refusal(manager.open, "probe_echo", profile, 1.0) == "forged message"
    assert refusal(manager.open, "edge/profile", echo, 1.0) == "forged message"
    # Nor may the edge speak as its load monitor, though its key is good.
    assert refusal(manager.open, "edge/load", profile, 1.0) == "forged message"
    assert refusal(manager.on_session, profile, 1.0) == "forged message"
    assert manager.open("edge/profile", profile, 1.0) == b"profile"


def test_another_key_is_refused_by_both_sides_and_named() -> None:
    head, edge = (
        Endpoint(Role.HEAD, RING, 0.0),
        Endpoint(Role.EDGE, new_ring("other", NOW), 0.0),
    )
    for own, other in ((head, edge), (edge, head)):
        (hello,) = other.hellos()
        assert refusal(own.on_hello, hello, 0.0) == FOREIGN_KEY
        # Naming a key is not knowing it.
        claimed = altered(hello, key_id=own.key_ids[0])
        assert refusal(own.on_hello, claimed, 0.0) == "forged message"
    assert head.missing() == [Role.EDGE]


def test_two_cars_with_a_key_each_do_not_hear_each_other() -> None:
    rings = [new_ring(name, NOW) for name in ("car1", "car2")]
    (head1, edge1, _), (head2, edge2, _) = (pair(ring) for ring in rings)
    for head, edge, other in ((head1, edge1, edge2), (head2, edge2, edge1)):
        raw = sealed(head, "head_tensor", b"a frame")
        assert refusal(other.open, "head_tensor", raw, 1.0) == (FOREIGN_KEY)
        assert edge.open("head_tensor", raw, 1.0) == b"a frame"


@pytest.mark.parametrize("restarted", ["edge", "head", "both"])
def test_after_a_restart_they_find_each_other_and_nothing_old_is_accepted(restarted: str) -> None:
    head, edge, air = pair()
    old = [sealed(head, "head_tensor", b"old"), sealed(edge, "edge_result", b"old")]
    if restarted in ("edge", "both"):
        edge = Endpoint(Role.EDGE, RING, 5.0)
    if restarted in ("head", "both"):
        head = Endpoint(Role.HEAD, RING, 5.0)
    again = Air(head, edge)
    again.settle(5.0)
    assert edge.open("head_tensor", sealed(head, "head_tensor", b"new", 6.0), 6.0) == b"new"
    assert head.open("edge_result", sealed(edge, "edge_result", b"new", 6.0), 6.0) == b"new"
    # Recorded before, everything, in the order in which it was said, and turned to the new ends.
    for raw in air.hellos + air.sessions:
        for end in (head, edge):
            for take in (end.on_hello, end.on_session):
                try:
                    take(raw, 7.0)
                except Refused:
                    continue
    for end, channel, raw in ((edge, "head_tensor", old[0]), (head, "edge_result", old[1])):
        with contextlib.suppress(Refused):
            assert end.open(channel, raw, 7.0) in (None, b"old")
        turned = altered(raw, receiver=end.own.identity)
        if turned != raw:
            assert refusal(end.open, channel, turned, 7.0) in (
                "forged message",
                "repeated message",
                UNKNOWN_SENDER,
            )
    assert edge.open("head_tensor", sealed(head, "head_tensor", b"still", 8.0), 8.0) == b"still"


def test_recorded_greetings_in_masses_take_no_peers_place() -> None:
    head, edge, _ = pair()
    recorded = [Endpoint(Role.EDGE, RING, 0.0).hellos()[0] for _ in range(300)]
    answered = sum(len(head.on_hello(raw, 1.0).to_peers) for raw in recorded for _ in range(3))
    assert answered <= 21  # and no more: an answer to each would double the flood
    assert edge.open("head_tensor", sealed(head, "head_tensor", b"a frame"), 1.0) == b"a frame"
    late = Endpoint(Role.EDGE, RING, 60.0)
    Air(head, late).settle(60.0)
    assert late.open("head_tensor", sealed(head, "head_tensor", b"new", 61.0), 61.0) == b"new"


def test_peers_beyond_the_most_displace_the_one_silent_for_longest_for_good() -> None:
    head = Endpoint(Role.HEAD, RING, 0.0)
    edges = []
    for number in range(MOST_PEERS + 1):
        edges.append(Endpoint(Role.EDGE, RING, float(number)))
        air = Air(head, edges[-1])
        air.settle(float(number))
    answer = sealed(edges[0], "edge_result", b"late", 70.0)
    assert refusal(head.open, "edge_result", answer, 70.0) == UNKNOWN_SENDER
    (hello,) = edges[0].hellos()
    assert head.on_hello(hello, 71.0) == Outgoing()
    newest = sealed(edges[-1], "edge_result", b"answer", 70.0)
    assert head.open("edge_result", newest, 70.0) == b"answer"


def test_of_several_ends_in_a_role_the_newest_that_lives_is_spoken_to() -> None:
    head, edge, _ = pair()
    ghost = Endpoint(Role.EDGE, RING, 1.0)
    Air(head, ghost).settle(1.0)  # confirmed later, and never heard again
    assert ghost.open("head_tensor", sealed(head, "head_tensor", b"lost", 2.0), 2.0) == b"lost"
    # The living one speaks at least every few seconds.
    alive = []
    for now_s in (6.0, 11.0, 16.0):
        alive += edge.poll(now_s).to_peers
        assert head.on_session(alive[-1], now_s) == Outgoing()
    assert len(alive) == 3
    assert edge.open("head_tensor", sealed(head, "head_tensor", b"found", 17.0), 17.0) == b"found"
    for raw in alive:
        assert refusal(head.on_session, raw, 17.0) == "repeated message"


def test_a_message_of_a_dead_end_that_was_held_back_leads_nobody_astray() -> None:
    head, edge, _ = pair()
    held_back = sealed(edge, "edge_result", b"late")
    edge = Endpoint(Role.EDGE, RING, 5.0)
    Air(head, edge).settle(5.0)
    assert head.open("edge_result", held_back, 6.0) == b"late"
    assert edge.open("head_tensor", sealed(head, "head_tensor", b"new", 7.0), 7.0) == b"new"


def test_a_lost_greeting_is_said_again_ever_more_seldom() -> None:
    head = Endpoint(Role.HEAD, RING, 0.0)
    said = [now_s for now_s in (n / 4 for n in range(240)) if head.poll(now_s).hellos]
    gaps = [later - earlier for earlier, later in itertools.pairwise(said)]
    assert gaps[:11] == [0.25] * 9 + [0.5, 1.0]
    assert gaps[-1] == 5.0
    edge = Endpoint(Role.EDGE, RING, 60.0)
    Air(head, edge).settle(65.0)
    assert head.missing() == []
    later = [n for n in range(70, 200) if head.poll(float(n)).hellos]
    assert later in ([], [70])


def test_a_rotation_loses_nothing_and_uses_the_newest_key_both_know() -> None:
    head, edge, air = pair()
    two = rotated(RING, NOW)
    new_id, old_id = two.key_ids
    steps = [
        (lambda now_s: head.use(two, now_s), old_id),  # the edge does not know the new one yet
        (lambda now_s: edge.use(two, now_s), new_id),
        (lambda now_s: head.use(finished(two), now_s), new_id),
        (lambda now_s: edge.use(finished(two), now_s), new_id),
    ]
    now_s = 1.0
    for step, key_id in steps:
        step(now_s)
        for _ in range(4):
            now_s += 5.0
            air.settle(now_s)
            for sender, receiver, channel in (
                (head, edge, "head_tensor"),
                (edge, head, "edge_result"),
            ):
                raw = sealed(sender, channel, b"a frame", now_s)
                assert receiver.open(channel, raw, now_s) == b"a frame"
        assert read_envelope(raw).key_id == key_id
    old = Endpoint(Role.EDGE, RING, now_s)
    assert refusal(head.on_hello, old.hellos()[0], now_s) == FOREIGN_KEY


def test_under_a_new_key_a_message_may_overtake_the_handshake() -> None:
    head, edge, _ = pair()
    two = rotated(RING, NOW)
    head.use(two, 1.0)
    edge.use(two, 1.0)
    (greeting,) = (raw for raw in head.hellos() if read_envelope(raw).key_id == two.key_ids[0])
    (confirm,) = edge.on_hello(greeting, 1.0).to_peers
    (reply,) = head.on_session(confirm, 1.0).to_peers  # and this is still on its way
    raw = sealed(head, "head_tensor", b"a frame")
    assert read_envelope(raw).key_id == two.key_ids[0]
    assert edge.open("head_tensor", raw, 1.0) == b"a frame"
    assert edge.on_session(reply, 1.0).to_peers == []
    assert refusal(edge.open, "head_tensor", raw, 1.0) == "repeated message"


def test_a_greeting_that_was_tampered_with_is_refused() -> None:
    head, edge, air = pair()
    for raw, take in [(air.hellos[1], head.on_hello), *((s, None) for s in air.sessions)]:
        receiver = head if read_envelope(raw).receiver in (0, head.own.identity) else edge
        accept = take or receiver.on_session
        data = bytes(read_envelope(raw).data)
        last = bytes([data[-1] ^ 1])
        for broken in (b"", data[:-1], data + b"\0", b"\xff" + data[1:], data[:-1] + last):
            assert refusal(accept, altered(raw, data=broken), 1.0) in (
                "unreadable message",
                "forged message",
            )
        if take is None:
            # Vouched for by a session, not by the long-term key: it is no greeting to everybody.
            assert refusal(receiver.on_hello, altered(raw, receiver=0), 1.0) == "forged message"
