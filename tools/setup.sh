#!/usr/bin/env bash
# Set up everything that running and testing need, into the source tree: .venv (Python packages), build, install.
# With a ROS 2 distribution sourced the package is built against it; otherwise its client library is installed as
# wheels. Does nothing where nothing is to do; an interrupted run is taken up again by the next.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

say() { printf 'setup: %s\n' "$*" >&2; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Two at once (two shells, a test beside a demo) would take each other's build folder away.
exec 9>.setup.lock
if command -v flock >/dev/null; then flock 9; fi

has_package() { # whether a sourced ROS environment holds a package of this name
    local prefix IFS=:
    for prefix in ${AMENT_PREFIX_PATH:-}; do
        [[ ! -e $prefix/share/ament_index/resource_index/packages/$1 ]] || return 0
    done
    return 1
}

# --- What kind of machine is this? -----------------------------------------------------------------------------------
if [[ -n "${DAPDEE_ENV:-}" && -s $DAPDEE_ENV/.venv/dapdee-mode ]]; then
    # tools/env.sh is sourced here, this checkout's or another's, and with it a ROS environment of our own making: what
    # was decided there holds.
    mode=$(cat "$DAPDEE_ENV/.venv/dapdee-mode")
    PATH=${PATH//"$DAPDEE_ENV/.venv/bin:"/}
elif [[ -n "${ROS_DISTRO:-}" ]]; then
    mode="ros $ROS_DISTRO"
else
    mode=wheels
fi

command -v c++ >/dev/null || command -v g++ >/dev/null ||
    die "no C++ compiler found: the messages are compiled. Install one: sudo apt install g++"
command -v cmake >/dev/null || die "cmake not found. Install it: sudo apt install cmake"

supported='import sys; sys.exit(0 if sys.version_info[:2] in ((3, 11), (3, 12)) else 1)'
python=${PYTHON:-}
if [[ -z "$python" ]]; then
    for candidate in python3 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && "$candidate" -c "$supported" 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
[[ -n "$python" ]] || die "needs Python 3.11 or 3.12, found $(python3 --version 2>&1 || echo none). \
Install one (sudo apt install python3.11 python3.11-venv) or name it: PYTHON=/path/to/python3.11 make setup"
"$python" -c "$supported" || die "needs Python 3.11 or 3.12, PYTHON=$python is $("$python" --version 2>&1)"

if [[ $mode == wheels && $(uname -m) != x86_64 ]]; then
    die "without a ROS 2 installation the client library comes as wheels, which exist for x86-64 only; this is \
$(uname -m). Install ROS 2 (on a Raspberry Pi: Ubuntu 24.04 with ros-jazzy-ros-base), source it and run this again."
fi
if [[ $mode == ros* ]]; then
    command -v colcon >/dev/null || die "colcon not found. Install it: sudo apt install python3-colcon-common-extensions"
    has_package vision_msgs ||
        die "the ROS package vision_msgs not found. Install it: sudo apt install ros-${ROS_DISTRO:-jazzy}-vision-msgs"
fi

# --- Python packages -------------------------------------------------------------------------------------------------
# FOR=car: only what the processes of car and edge run on. It is remembered, and FOR=all takes it back.
purpose=${FOR:-$(cat .venv/dapdee-for 2>/dev/null || echo all)}
case $purpose in
    car) requirements=(requirements/car.txt) ;;
    all) requirements=(requirements/runtime.txt requirements/train.txt requirements/dev.txt) ;;
    *) die "FOR=$purpose: expected car (what car and edge run on) or all (tests, training and charts too)" ;;
esac
if [[ $mode == ros* ]]; then
    requirements+=(requirements/with-ros.txt)
    constraints=requirements/constraints-ros.txt
else
    requirements=(requirements/ros-wheels.txt "${requirements[@]}")
    constraints=requirements/constraints.txt
fi
wanted=$({ echo "$mode"; "$python" --version; cat requirements/car.txt "${requirements[@]}" "$constraints" tools/mend_wheels.py; } | sha256sum)
if [[ "$(cat .venv/dapdee-packages 2>/dev/null)" != "$wanted" ]]; then
    if ! .venv/bin/python -c "$supported" 2>/dev/null ||
        [[ "$(cat .venv/dapdee-mode 2>/dev/null)" != "$mode" ]]; then
        say "making the virtual environment .venv ($mode)"
        rm -rf .venv build install
        if [[ $mode == ros* ]]; then
            "$python" -m venv --system-site-packages .venv
        else
            "$python" -m venv .venv
        fi || die "could not make a virtual environment; on Debian and Ubuntu: sudo apt install python3-venv"
        echo "$mode" >.venv/dapdee-mode
    fi
    rm -f .venv/dapdee-packages
    echo "$purpose" >.venv/dapdee-for
    say "installing Python packages (a few minutes the first time)"
    # Plain wheels only need their files: the start-up hook of the ROS wheels must not run inside pip.
    arguments=(--constraint "$constraints")
    for file in "${requirements[@]}"; do arguments+=(-r "$file"); done
    _ROS_WHEELS_BOOTSTRAP_COMPLETE=1 .venv/bin/python -m pip install -qq --disable-pip-version-check \
        "${arguments[@]}" || die "pip could not install the packages (see above); run this again to go on"
    if [[ $mode == wheels ]]; then
        _ROS_WHEELS_BOOTSTRAP_COMPLETE=1 .venv/bin/python tools/mend_wheels.py
    fi
    echo "$wanted" >.venv/dapdee-packages
fi

# --- The package itself ----------------------------------------------------------------------------------------------
# Installed files are links to the sources, so only what changes the set of files or the messages needs a build.
wanted=$({
    cat .venv/dapdee-packages CMakeLists.txt package.xml tools/setup.sh msg/*.msg src/*
    cat tools/vision_msgs/*.* tools/vision_msgs/msg/*
    find dapdee_ros scripts launch config models -type f -not -name '*.pyc' | LC_ALL=C sort
} | sha256sum)
if [[ "$(cat install/dapdee-build 2>/dev/null)" != "$wanted" ]]; then
    say "building the package"
    # shellcheck source=/dev/null
    DAPDEE_ENV_ROOT=$root source tools/env.sh
    rm -f install/dapdee-build
    # CMake refuses include folders below the source folder, and NumPy's lies in .venv below this one. So what is
    # built is a folder of links to the sources.
    stage=build/source/dapdee_ros
    # A ROS distribution has vision_msgs; as a wheel it does not exist.
    beside=()
    [[ $mode == ros* ]] || beside=("$root/tools/vision_msgs")
    build() {
        mkdir -p log "$stage"
        for part in CMakeLists.txt package.xml msg src dapdee_ros scripts launch config models; do
            ln -sfn "$root/$part" "$stage/$part"
        done
        colcon --log-base log build --symlink-install --paths "${beside[@]}" "$stage" --build-base build/colcon \
            --cmake-args -DPython3_EXECUTABLE="$root/.venv/bin/python" -DBUILD_TESTING=OFF >log/build.txt 2>&1
    }
    if ! build; then
        # A build folder that an interrupted or older run left can be the reason: once more from nothing.
        say "the build failed; trying again from an empty build folder"
        rm -rf build install
        build || { tail -n 40 log/build.txt >&2; die "colcon build failed; the whole output is in log/build.txt"; }
    fi
    # Links to sources that an update of the checkout has removed: CMake leaves them where they are.
    find install -xtype l -delete
    echo "$wanted" >install/dapdee-build
    say "done"
fi
