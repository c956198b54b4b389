"""The rules by which the link is measured, event by event."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapdee_ros.core.link_watch import (
    AnswerUnused,
    EchoCame,
    Event,
    FrameAnswered,
    FrameEndedHere,
    IgnoreReport,
    LinkWatch,
    LinkWatchSettings,
    PublishLink,
    SendProbe,
    TimePassed,
)
from dapdee_ros.core.settings import SettingError

ANSWERED = FrameAnswered((1, 7), sent_s=10.0, sent_bytes=10_000, transfer_s=0.05, residence_s=0.01)


def test_a_probe_is_due_at_once_and_its_echo_is_believed_once() -> None:
    watch = LinkWatch()
    probe, news = watch.handle(0.0, TimePassed())
    assert isinstance(probe, SendProbe)
    assert isinstance(news, PublishLink)
    assert not news.estimate.connected
    assert not watch.handle(0.01, EchoCame(probe.sequence + 1, 0.01)), "never sent"
    actions = watch.handle(0.02, EchoCame(probe.sequence, 0.02))
    assert any(isinstance(a, PublishLink) and a.estimate.connected for a in actions)
    assert watch.estimate(0.02).rtt_s == pytest.approx(0.02, rel=0.1)
    assert not watch.handle(0.9, EchoCame(probe.sequence, 0.9)), "a second time"
    assert watch.estimate(0.9).rtt_s == pytest.approx(0.02, rel=0.1)


def test_an_answered_frame_is_the_probe() -> None:
    watch = LinkWatch()
    (news,) = watch.handle(10.06, ANSWERED)
    assert isinstance(news, PublishLink)
    assert news.estimate.connected
    assert news.estimate.uplink_bps == pytest.approx(8 * 10_000 / 0.05, rel=0.2)
    for number in range(8, 60):
        sent_s = 10.0 + 0.1 * (number - 7)
        now_s = sent_s + 0.06
        watch.handle(now_s, replace(ANSWERED, frame=(1, number), sent_s=sent_s))
        probes = [a for a in watch.handle(now_s, TimePassed()) if isinstance(a, SendProbe)]
        # The first measurements are confirmed; then frames are enough.
        assert number < 20 or not probes


@pytest.mark.parametrize(
    "event",
    [
        replace(ANSWERED, transfer_s=math.nan),
        replace(ANSWERED, transfer_s=1e9),
        replace(ANSWERED, sent_s=50.0),
        replace(ANSWERED, sent_bytes=2**40),
        FrameEndedHere((1, 7), sent_s=-1e9, sent_bytes=1000),
        AnswerUnused((1, 7), sent_s=10.0, sent_bytes=1000, residence_s=9.0, arrived_s=10.06),
    ],
)
def test_what_cannot_be_has_no_effect_and_is_named(event: Event) -> None:
    watch = LinkWatch()
    (ignored,) = watch.handle(10.06, event)
    assert isinstance(ignored, IgnoreReport)
    assert ignored.reason.split(":")[0] in ("answer", "result")
    assert math.isnan(watch.estimate(10.06).uplink_bps)


def test_a_refused_frame_counts_as_answered_not_as_lost() -> None:
    watch = LinkWatch()
    watch.handle(10.06, AnswerUnused((1, 7), 10.0, 10_000, 0.01, 10.06))
    before = watch.estimate(10.1)
    assert before.loss_ratio == 0.0
    assert not watch.handle(10.1, FrameEndedHere((1, 7), 10.0, 10_000))
    assert not watch.handle(10.1, FrameEndedHere((1, 8), 10.0, 0)), "it was never sent"
    watch.handle(10.5, FrameEndedHere((1, 9), 10.1, 10_000))
    assert watch.estimate(10.5).loss_ratio > 0


def test_an_unchanged_estimate_is_published_once_in_a_period() -> None:
    watch = LinkWatch(LinkWatchSettings(publish_period_s=2.0))
    watch.handle(10.06, ANSWERED)
    again = replace(ANSWERED, frame=(1, 8), sent_s=10.1)
    assert not watch.handle(10.16, again)
    silent = watch.handle(12.07, replace(ANSWERED, frame=(1, 9), sent_s=12.01))
    assert [type(a) for a in silent] == [PublishLink]
    with pytest.raises(SettingError, match=r"probe_share is 0\.5; expected 0\.001 to 0\.1"):
        LinkWatchSettings(probe_share=0.5)


numbers = st.one_of(st.floats(-1, 100), st.sampled_from([math.nan, math.inf, -math.inf, 1e300]))
events = st.one_of(
    st.just(TimePassed()),
    st.builds(EchoCame, st.integers(0, 30), numbers.filter(math.isfinite)),
    st.builds(
        FrameAnswered,
        st.tuples(st.just(1), st.integers(0, 9)),
        numbers,
        st.integers(0, 10**7),
        numbers,
        numbers,
    ),
    st.builds(
        AnswerUnused,
        st.tuples(st.just(1), st.integers(0, 9)),
        numbers,
        st.integers(0, 10**7),
        numbers,
        numbers,
    ),
    st.builds(
        FrameEndedHere, st.tuples(st.just(1), st.integers(0, 9)), numbers, st.integers(0, 10**7)
    ),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), events), max_size=50))
def test_what_holds_whatever_comes(script: list[tuple[float, Event]]) -> None:
    watch, now_s, sequence, published_s = LinkWatch(), 0.0, 0, -math.inf
    for wait_s, event in script:
        now_s += wait_s
        for action in watch.handle(now_s, event):
            if isinstance(action, SendProbe):
                sequence += 1
                assert action.sequence == sequence
                assert 0 <= action.padding_bytes <= 60_000
            elif isinstance(action, PublishLink):
                published_s = now_s
                rate_bps = action.estimate.uplink_bps
                assert math.isnan(rate_bps) or rate_bps > 0
        if isinstance(event, TimePassed):
            assert now_s - published_s < LinkWatchSettings.publish_period_s
