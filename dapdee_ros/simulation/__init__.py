"""Links that change, without a radio: traces of uplink capacity and a shaper that obeys them."""
