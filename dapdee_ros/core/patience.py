"""How long the car waits for the edge before it finishes a frame itself."""

from __future__ import annotations

import math

# An answer that took this much longer than predicted probably does not come at all.
PATIENCE = 1.5
SLACK_S = 0.02
# One that took this much longer does not come, wherever it may wait.
_GIVE_UP = 3.0


def fallback_time(
    sent_s: float,
    done_by_s: float,
    predicted_remote_s: float,
    *,
    deepest_s: float,
    quickest_s: float,
) -> float:
    """When to stop waiting for the edge.

    Waiting longer can save a frame's remote answer but costs depth: what is left until the
    deadline has to hold the exit that the car then computes. So the wait ends where the planned
    exit just fits, but not before the edge had half again its predicted time, and not so late that
    not even the quickest exit fits. On a car so slow that this would be before the edge can have
    answered, the edge gets the time that was predicted for it all the same: the plan counts on it.

    Args:
        sent_s: when the frame was sent.
        done_by_s: when its result has to be there, margin taken off.
        predicted_remote_s: predicted T_t + T_e; NaN if unknown.
        deepest_s: seconds the car takes to finish at the planned exit.
        quickest_s: seconds it takes to finish at its quickest exit.

    Returns:
        The time to start the fallback, on the clock of ``sent_s``, not before it.
    """
    predicted_s = 0.0 if math.isnan(predicted_remote_s) else predicted_remote_s + SLACK_S
    start_s = max(done_by_s - deepest_s, sent_s + PATIENCE * predicted_s)
    fair_s = min(sent_s + predicted_s, done_by_s)
    return max(sent_s, min(start_s, max(done_by_s - quickest_s, fair_s)))


def hand_over_time(
    sent_s: float, last_s: float, predicted_remote_s: float, spare_remote_s: float
) -> float:
    """When to ask another server, because the one that a frame was sent to does not answer.

    To wait costs nothing as long as the other one then still has time; but frames that come
    meanwhile may be on their way to a dead server. So the first has three times its predicted time,
    less where the other would not have half again its own, and at least half again.

    Args:
        sent_s: when the frame was sent.
        last_s: when an answer has to be there at the latest.
        predicted_remote_s: predicted T_t + T_e of the server that was asked; NaN if unknown.
        spare_remote_s: the same of the other one.

    Returns:
        The time to send the frame to the other one, on the clock of ``sent_s``; infinity if that
        would be too late, or cannot be known.
    """
    predicted_s = 0.0 if math.isnan(predicted_remote_s) else predicted_remote_s + SLACK_S
    spare_s = spare_remote_s + SLACK_S
    first_s = sent_s + PATIENCE * predicted_s
    if not first_s + spare_s <= last_s:
        return math.inf
    return max(first_s, min(sent_s + _GIVE_UP * predicted_s, last_s - PATIENCE * spare_s))


def answer_within(wait_s: float, predicted_transfer_s: float) -> float:
    """For how long after a frame's arrival on the edge an answer is of use to the car.

    Until the car stops waiting, less the time on the link. At least half of it: a link that is
    predicted to be slower than it is must not make the edge refuse what would be in time.

    Args:
        wait_s: for how long the car waits, from sending.
        predicted_transfer_s: predicted T_t; NaN if unknown.
    """
    transfer_s = 0.0 if math.isnan(predicted_transfer_s) else predicted_transfer_s
    return max(wait_s - transfer_s, wait_s / 2)
