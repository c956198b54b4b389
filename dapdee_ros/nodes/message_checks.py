"""Plausibility checks of messages; they return what is wrong as text, or nothing."""

from __future__ import annotations

import dapdee_ros.msg as msg
from dapdee_ros.estimation import credible

_DURATIONS = ("latency_s", "head_s", "transfer_s", "tail_s", "residence_s", "load_s")


def result_fault(message: msg.InferenceResult) -> str:
    """What is wrong with a result or an answer: its durations, or how much was sent."""
    durations_s = {name: getattr(message, name) for name in _DURATIONS}
    if fault := credible.durations_fault(durations_s):
        return fault
    for name in ("sent_bytes", "source_bytes"):
        if (n_bytes := getattr(message, name)) > credible.MOST_BYTES:
            return f"{name} is {n_bytes}, expected at most {credible.MOST_BYTES}"
    return ""


def link_fault(message: msg.LinkQuality) -> str:
    """What is wrong with a link's state."""
    return credible.link_fault(
        message.uplink_bps, message.rtt_s, message.loss_ratio, message.uplink_spread
    )


def load_fault(message: msg.NodeLoad) -> str:
    """What is wrong with a machine's load."""
    return credible.load_fault(message.cpu_ratio, message.memory_ratio, message.battery_ratio)
