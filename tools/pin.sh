#!/usr/bin/env bash
# Write requirements/constraints.txt and requirements/constraints-ros.txt anew: the version of every Python package that
# requirements/ leads to, for Python 3.11 and 3.12 on Linux. Run it through `make pins`.
#
#   tools/pin.sh             keep what is pinned, add what requirements/ needs beyond it, drop what nothing needs
#   tools/pin.sh --upgrade   take the newest versions that requirements/ allows
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Resolves for both versions of Python at once, which pip cannot. It is needed for nothing else, so it stays out of .venv.
tool=$(mktemp -d)
trap 'rm -rf "$tool"' EXIT
python3 -m venv "$tool/venv"
"$tool/venv/bin/python" -m pip install -qq --disable-pip-version-check uv

pin() { # pin FILE "what it is for" ARGUMENTS...: resolve into requirements/FILE, below a header of our own
    local file=requirements/$1 purpose=$2
    shift 2
    "$tool/venv/bin/uv" pip compile -q --universal --python-version 3.11 --no-annotate --no-header \
        --output-file "$tool/pins" "$@" >/dev/null
    {
        printf '# %s\n# Written by tools/pin.sh (make pins); do not edit.\n' "$purpose"
        # A marker matters only where one package has two versions.
        awk -F== 'NR == FNR { versions[$1]++; next } { if (versions[$1] == 1) sub(/ ;.*/, ""); print }' "$tool/pins" "$tool/pins"
    } >"$file.new"
    mv "$file.new" "$file"
}

cp requirements/constraints.txt "$tool/pins"
pin constraints.txt "Every package of an environment without a ROS installation, as it was tested." "$@" \
    requirements/ros-wheels.txt requirements/runtime.txt requirements/train.txt requirements/ray.txt requirements/dev.txt

# With a ROS 2 distribution the system's packages are seen from the environment (Ubuntu 24.04). What those bring in a
# version that will do stays theirs: a second copy in .venv would hide it from ROS's own tools.
system=(numpy setuptools pyyaml packaging psutil pillow tqdm matplotlib contourpy cycler fonttools kiwisolver pyparsing
    python-dateutil six cryptography cffi pycparser pygments jinja2 markupsafe typing-extensions mpmath sympy)
pin constraints-ros.txt "Beside a ROS 2 distribution: what its system does not bring itself." "$@" \
    "${system[@]/#/--no-emit-package=}" requirements/runtime.txt requirements/train.txt \
    requirements/ray.txt requirements/dev.txt requirements/with-ros.txt
