"""The experiments: which models, links, loads and policies, and what comes of them as tables."""
