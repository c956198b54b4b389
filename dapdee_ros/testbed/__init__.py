"""Real nodes on two emulated machines: a shaped link between them, a slow processor on the car."""
