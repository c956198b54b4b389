"""The full network on the edge server."""

from __future__ import annotations

from dapdee_ros.planning.errors import PolicyError
from dapdee_ros.planning.plan import Plan
from dapdee_ros.planning.policy import Problem, Situation


class EdgeOnly:
    """Deepest exit on the edge server, the input sent as it is (uint8) or through ``codec``."""

    def __init__(self, problem: Problem, codec: str = "f32") -> None:
        """Plan for this problem."""
        self._problem = problem
        self._codecs = problem.codec_names(codec)

    def plan(self, situation: Situation) -> Plan:
        """Send the input, by the codec with which the result is there first."""
        dag = self._problem.dag
        plans = [
            situation.price(
                self._problem, len(dag.exits), [dag.input], codec, "the full network on the edge"
            )
            for codec in self._codecs
            if self._problem.basis.codec(codec).tensor(dag.nodes[0]) is not None
        ]
        if not plans:
            raise PolicyError(f"none of the codecs {', '.join(self._codecs)} codes the input")
        return min(plans, key=lambda plan: plan.latency_s)


class EdgeOnlyJpeg(EdgeOnly):
    """Deepest exit on the edge server, the input sent as a JPEG image."""

    def __init__(self, problem: Problem, codec: str = "jpeg") -> None:
        """Plan for this problem; it needs a codec whose name begins with that."""
        names = [c.name for c in problem.codecs if c.name.startswith(codec)]
        if not names:
            raise PolicyError(
                f"edge-only-jpeg needs a codec called {codec}..., there are "
                f"{', '.join(c.name for c in problem.codecs)}: run `dapdee calibrate`"
            )
        super().__init__(problem, names[0])
