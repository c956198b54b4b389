"""Reports of runs: logs, summaries, figures."""
