"""The experiments: models, links, loads and policies, and the page of their results."""
