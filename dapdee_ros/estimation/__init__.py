"""Estimators of link and load: pure functions of their input, the time always passed in."""
