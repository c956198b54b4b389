"""Split inference on robots: one early-exit network run together by a car and an edge server."""

from pkgutil import extend_path

__version__ = "0.1.0"

# The generated messages (dapdee_ros.msg) lie in the built package. Started from the source folder,
# Python finds the modules here first; this lets it find the messages there all the same.
__path__ = extend_path(__path__, __name__)
