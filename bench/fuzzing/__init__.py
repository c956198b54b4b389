"""What ``bench/fuzz.py`` is made of."""
