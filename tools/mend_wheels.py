"""Mend the CMake files of the ROS wheels that name the folders of the machine they were built on.

Some exported CMake files point to the wheel builder's own include folders, which CMake refuses.
This rewrites them to the include folders of the running interpreter and its NumPy. Harmless when
run twice.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

WRONG_NUMPY = re.compile(r"/opt/python/[^;\"]*?/numpy/_?core/include")
WRONG_PYTHON = re.compile(r"/opt/python/[^;\"]*?/include/python3\.\d+")


def main() -> int:
    """Rewrite the files under this environment's share/ and say how many there were."""
    mended = 0
    for path in Path(sys.prefix).glob("share/*/cmake/*Export.cmake"):
        text = path.read_text(encoding="utf-8")
        new = WRONG_NUMPY.sub(numpy.get_include(), text)
        new = WRONG_PYTHON.sub(sysconfig.get_paths()["include"], new)
        if new != text:
            path.write_text(new, encoding="utf-8")
            mended += 1
    print(f"setup: mended {mended} CMake files of the ROS wheels", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
