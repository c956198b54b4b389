"""What ``bench/attacks.py`` is made of."""
