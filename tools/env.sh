# Source this to get a shell in which `dapdee`, the nodes and Python see the built package:  source tools/env.sh
# Works in bash and zsh.
if [ -n "${DAPDEE_ENV_ROOT:-}" ]; then
    _dapdee_root=$DAPDEE_ENV_ROOT
elif [ -n "${BASH_VERSION:-}" ]; then
    _dapdee_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
else
    _dapdee_root=$(cd "$(dirname "${(%):-%x}")/.." && pwd)
fi
_dapdee_add() { # prepend $2 to the path variable $1, once
    eval "_dapdee_old=\${$1:-}"
    case ":$_dapdee_old:" in
        *":$2:"*) ;;
        *) eval "export $1=\"\$2\${_dapdee_old:+:\$_dapdee_old}\"" ;;
    esac
}
if [ ! -f "$_dapdee_root/.venv/dapdee-mode" ]; then
    echo "env.sh: nothing is set up yet: run 'make setup' in $_dapdee_root first" >&2
else
    export VIRTUAL_ENV="$_dapdee_root/.venv"
    export DAPDEE_ENV="$_dapdee_root"
    _dapdee_add PATH "$VIRTUAL_ENV/bin"
    case "$(cat "$VIRTUAL_ENV/dapdee-mode")" in
        ros*)
            if [ -f "$_dapdee_root/install/local_setup.sh" ]; then
                COLCON_CURRENT_PREFIX="$_dapdee_root/install" . "$_dapdee_root/install/local_setup.sh"
            fi
            ;;
        *)
            # The environment itself is the ament prefix; the guard saves the wheels' start-up hook from starting
            # every Python process twice only to set LD_LIBRARY_PATH.
            _dapdee_python=$("$VIRTUAL_ENV/bin/python" -S -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
            for _dapdee_libs in "$VIRTUAL_ENV/lib/$_dapdee_python/site-packages"/ros_*.libs; do
                [ -d "$_dapdee_libs" ] && _dapdee_add LD_LIBRARY_PATH "$_dapdee_libs"
            done
            _dapdee_add LD_LIBRARY_PATH "$VIRTUAL_ENV/lib"
            _dapdee_add AMENT_PREFIX_PATH "$VIRTUAL_ENV"
            _dapdee_add CMAKE_PREFIX_PATH "$VIRTUAL_ENV"
            for _dapdee_built in vision_msgs dapdee_ros; do
                _dapdee_built=$_dapdee_root/install/$_dapdee_built
                _dapdee_add LD_LIBRARY_PATH "$_dapdee_built/lib"
                _dapdee_add AMENT_PREFIX_PATH "$_dapdee_built"
                _dapdee_add PYTHONPATH "$_dapdee_built/lib/$_dapdee_python/site-packages"
            done
            _dapdee_add PATH "$_dapdee_root/install/dapdee_ros/bin"
            export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
            export ROS_DISTRO=${ROS_DISTRO:-jazzy} ROS_VERSION=2 ROS_PYTHON_VERSION=3
            unset _dapdee_python _dapdee_libs _dapdee_built
            ;;
    esac
fi
unset _dapdee_root _dapdee_old
unset -f _dapdee_add
