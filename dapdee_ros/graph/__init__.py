"""The model as a DAG of operators: trace it, enumerate its cuts, run any part of it.

``dag`` and ``cuts`` are pure Python, so the planner on the car can use them; ``trace`` and
``runner`` import torch. This module imports neither, to keep it that way.
"""
