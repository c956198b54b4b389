"""Real nodes on two played machines: a shaped link between them, a slow processor on the car."""
