"""A run as a picture: latency, link and plan over time."""

from __future__ import annotations

from pathlib import Path

from dapdee_ros.report.run_log import LinkRecord, RunLog

_COLOURS = {"edge": "#1f77b4", "car": "#2ca02c", "fallback": "#d62728"}


def draw_timeline(log: RunLog, path: Path) -> None:
    """Draw a run and write it where the path's suffix says (png, svg)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (latency, link, plan) = pyplot.subplots(
        3, 1, sharex=True, figsize=(11, 7.5), height_ratios=(3, 2, 2), layout="constrained"
    )
    for place, colour in _COLOURS.items():
        of = [f for f in log.frames if f.place == place]
        if of:
            latency.plot(
                [f.at_s for f in of],
                [1e3 * f.latency_s for f in of],
                ".",
                color=colour,
                label=f"{place} ({len(of)})",
            )
    wrong = [f for f in log.frames if f.truth is not None and f.truth != f.class_id]
    latency.plot(
        [f.at_s for f in wrong],
        [1e3 * f.latency_s for f in wrong],
        "x",
        color="black",
        label=f"wrong answer ({len(wrong)})",
    )
    deadline_s = log.settings.get("deadline_s")
    if deadline_s:
        latency.axhline(1e3 * deadline_s, color="grey", linestyle="--", linewidth=1)
        latency.text(0, 1e3 * deadline_s, " deadline", va="bottom", color="grey")
    latency.set_ylabel("latency [ms]")
    # Room above for the legend, or it would hide the slowest frames.
    latency.set_ylim(0, 1.18 * latency.get_ylim()[1])
    latency.legend(loc="upper right", ncols=4, fontsize="small")

    _draw_link(link, log.link_truth, "true", "#bbbbbb", 3)
    _draw_link(link, log.links, "estimated", "#1f77b4", 1.2)
    link.set_ylabel("uplink [Mbit/s]")
    link.set_ylim(bottom=0)
    if log.links or log.link_truth:
        link.legend(loc="upper right", ncols=2, fontsize="small")

    end_s = max([f.at_s for f in log.frames] + [p.at_s for p in log.plans], default=0.0)
    cuts: dict[str, int] = {}
    for record in log.plans:
        name = " + ".join(record.boundary) or "all on car"
        cuts.setdefault(f"{name} {record.codec}".strip(), len(cuts))
    for number, record in enumerate(log.plans):
        until_s = log.plans[number + 1].at_s if number + 1 < len(log.plans) else end_s
        name = f"{' + '.join(record.boundary) or 'all on car'} {record.codec}".strip()
        plan.plot([record.at_s, until_s], [cuts[name]] * 2, linewidth=6, color="#9467bd")
        plan.text(record.at_s, cuts[name] + 0.12, f" {record.exit_number}", fontsize="x-small")
    plan.set_yticks(list(cuts.values()), list(cuts))
    plan.set_ylim(-0.6, max(len(cuts), 1) - 0.2)
    plan.set_ylabel("what is sent\n(number: exit)")
    plan.set_xlabel("time since the start [s]")
    for axes in (latency, link, plan):
        axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _draw_link(
    axes: object, records: list[LinkRecord], label: str, colour: str, width: float
) -> None:
    if not records:
        return
    rates = [0.0 if not r.connected else (r.uplink_bps or 0.0) / 1e6 for r in records]
    axes.step(  # type: ignore[attr-defined]
        [r.at_s for r in records], rates, where="post", color=colour, linewidth=width, label=label
    )
