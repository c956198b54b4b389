"""The rules of head, edge and manager as state machines: events in, actions out, time passed in."""
