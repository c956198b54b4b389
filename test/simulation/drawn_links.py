"""Links drawn by hypothesis: a few pieces, dead ones among them, wrapping or not."""

import math

import numpy as np
from hypothesis import strategies as st

from dapdee_ros.simulation.link_trace import LinkTrace


@st.composite
def links(draw: st.DrawFn) -> LinkTrace:
    lengths = draw(st.lists(st.floats(0.05, 3), min_size=1, max_size=6))
    rates = draw(
        st.lists(
            st.one_of(st.just(0.0), st.floats(1e4, 2e7)),
            min_size=len(lengths),
            max_size=len(lengths),
        )
    )
    edges = np.concatenate([[0.0], np.cumsum(lengths)])
    wraps = draw(st.booleans())
    return LinkTrace(edges[:-1], np.array(rates), edges[-1] if wraps else math.inf, "drawn")
