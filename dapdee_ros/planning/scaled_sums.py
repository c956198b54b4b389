"""The best of all splits that some scaled sum makes the cheapest: a search grid of any step.

Algorithm 3 of DAPDEE, like the search of DADS, scales the car's times by alpha and the edge
server's by gamma and takes a split with the lowest alpha * T_d + T_t + gamma * T_e. Where the
splits can be listed no grid has to be walked: a split is one that some grid finds if there is a
point (alpha, gamma) at which no other split's sum is lower. For gamma fixed, each other split
bounds alpha from above or from below, linearly in gamma. So the width of what is left for alpha is
a concave function of gamma, and whether it is ever 0 or more is found by a one-dimensional search.
"""

from __future__ import annotations

import numpy as np

from dapdee_ros.planning.candidates import Bools, Floats, Ints

# The minimum cuts' capacities are whole picoseconds: sums within ten of them are a tie, and a grid
# may have found either.
_TIE_S = 1e-11
_GOLDEN = (5**0.5 - 1) / 2
# Each step keeps 0.618 of the range: 1e-16 of it are left.
_STEPS = 76
# Points at which the first rivals are looked for, along each axis.
_PROBES = 12


def lowest_reachable(times_s: Floats, objective: Floats, spans: tuple[float, float]) -> int:
    """The split with the lowest objective among those that some grid point makes the cheapest.

    Args:
        times_s: T_d, T_t and T_e of each split, in s, ``(3, n)``; n is 1 or more.
        objective: what is minimised among the reachable ones, ``(n,)``.
        spans: the largest alpha and the largest gamma; both begin at 0.

    Returns:
        Its column in ``times_s``.
    """
    rivals = _cheapest_at_probes(times_s, spans)
    best = int(rivals[objective[rivals].argmin()])
    better = np.flatnonzero(objective < objective[best])
    better = better[np.argsort(objective[better], kind="stable")]
    possible = _cells(times_s, better, rivals, spans)[0]
    for column in better[possible]:
        while True:
            (found,), (alpha,), (gamma,) = _cells(times_s, np.array([column]), rivals, spans)
            if not found:
                break
            sums_s = np.array([alpha, 1.0, gamma]) @ times_s
            cheapest = int(sums_s.argmin())
            # The search allows ties as well, so twice as much is between them at most.
            if sums_s[column] <= sums_s[cheapest] + 2 * _TIE_S * (1 + alpha + gamma):
                return int(column)
            if cheapest in rivals:
                break
            rivals = np.append(rivals, cheapest)
    return best


def _cheapest_at_probes(times_s: Floats, spans: tuple[float, float]) -> Ints:
    axes = [np.append(0.0, np.geomspace(min(span, 1) * 1e-3, span, _PROBES)) for span in spans]
    alphas, gammas = (axis.ravel() for axis in np.meshgrid(*axes))
    weights = np.stack([alphas, np.ones_like(alphas), gammas], axis=1)
    return np.unique((weights @ times_s).argmin(axis=1))


def _cells(
    times_s: Floats, columns: Ints, rivals: Ints, spans: tuple[float, float]
) -> tuple[Bools, Floats, Floats]:
    """Whether splits have a point at which no rival's sum is lower, and that point.

    Args:
        times_s: as above.
        columns: the splits, ``(c,)``.
        rivals: those that they are compared with.
        spans: as above.

    Returns:
        Whether there is one, its alpha and its gamma, ``(c,)`` each.
    """
    d_car, d_link, d_edge = times_s[:, columns, None] - times_s[:, rivals][:, None, :]
    d_car, d_link, d_edge = d_car - _TIE_S, d_link - _TIE_S, d_edge - _TIE_S
    above, below = d_car > 0, d_car < 0
    level = ~(above | below)
    with np.errstate(divide="ignore", invalid="ignore"):
        at_zero, slope = -d_link / d_car, -d_edge / d_car

    def bounds(gamma: Floats) -> tuple[Floats, Floats, Floats]:
        """Least and most alpha, and by how much the rest is broken, for one gamma a split."""
        at = at_zero + slope * gamma[:, None]
        most = np.where(above, at, spans[0]).min(axis=1, initial=spans[0])
        least = np.where(below, at, 0.0).max(axis=1, initial=0.0)
        broken = np.where(level, d_link + d_edge * gamma[:, None], 0.0).max(axis=1, initial=0.0)
        return least, most, broken

    def lack(gamma: Floats) -> Floats:
        least, most, broken = bounds(gamma)
        return np.maximum(least - most, broken)

    low, high = np.zeros(len(columns)), np.full(len(columns), spans[1])
    for _ in range(_STEPS):
        width = _GOLDEN * (high - low)
        left, right = high - width, low + width
        go_left = lack(left) <= lack(right)
        low, high = np.where(go_left, low, left), np.where(go_left, right, high)
    ends = np.stack([low, high, np.zeros_like(low), np.full_like(low, spans[1])])
    lacks = np.stack([lack(gamma) for gamma in ends])
    gamma = ends[lacks.argmin(axis=0), np.arange(len(columns))]
    least, most, broken = bounds(gamma)
    return np.maximum(least - most, broken) <= 0, (least + most) / 2, gamma
