"""What the car knows of its link and of the load: pure estimators, the time always passed in."""
