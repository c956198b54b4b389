"""The cost of Ma et al. as an objective: a frame's expected latency and the car's energy for it.

Y. Ma, Y. Wang, B. Tang: Joint Optimization of Model Partitioning and Resource Allocation for
Multi-Exit DNNs in Edge-Device Collaboration, Electronics 2025, 14(8), 1647. What their model and
this project's have in common, and what not, is in docs/fidelity.md.
"""

from __future__ import annotations

from dapdee_ros.planning.cost import EnergyPrices
from dapdee_ros.planning.objective import Objective
from dapdee_ros.planning.view import check_ratio


def ma_cost(
    energy_share: float, compute_w: float, send_j_per_byte: float
) -> tuple[Objective, EnergyPrices]:
    """Their cost: (1 - share) * expected seconds + share * the car's expected joules.

    Args:
        energy_share: weight of the energy, 0 to 1, the latency has the rest; the energy alone
            leaves nothing for shares to improve, so 1 is good for a single car only.
        compute_w: power of the car while it computes, in W.
        send_j_per_byte: energy of sending a byte, in J. Waiting costs nothing in their model.

    Returns:
        What a ``Situation`` takes as ``mode`` and as ``energy``.

    Raises:
        PlanningError: for a share outside 0 to 1, or an impossible price.

    >>> objective, prices = ma_cost(0.5, compute_w=5.0, send_j_per_byte=1e-7)
    >>> round(objective.of(0.2, 0.0, prices.car_j(0.1, 50_000, 0.2)), 3)
    0.353
    """
    check_ratio("energy_share", energy_share)
    return (
        Objective(latency=1 - energy_share, energy_s_per_j=energy_share),
        EnergyPrices(compute_w, send_j_per_byte),
    )
