#!/bin/sh
# Usage: system_libraries.sh python|screen
# Checks for what pip cannot install: a Python that makes virtual environments, or a virtual screen with Qt's and OpenGL's libraries.
# Installs what is missing through apt where that is allowed; otherwise says in one sentence what is missing and exits with 1.
set -u
here=$(dirname "$0")

missing_python() {
    sh "$here/find_python.sh" >/dev/null 2>&1 || echo "python3-venv"
}

has_library() {
    ldconfig -p 2>/dev/null | grep -q "$1" || find /usr/lib /usr/lib64 /lib -name "$1*" 2>/dev/null | grep -q .
}

missing_screen() {
    command -v Xvfb >/dev/null || echo "xvfb"
    command -v xvfb-run >/dev/null || echo "xvfb"
    command -v xauth >/dev/null || echo "xauth"
    while read -r library package; do
        has_library "$library" || echo "$package"
    done <<'LIBRARIES'
libxcb-cursor.so.0 libxcb-cursor0
libxcb-icccm.so.4 libxcb-icccm4
libxcb-image.so.0 libxcb-image0
libxcb-keysyms.so.1 libxcb-keysyms1
libxcb-randr.so.0 libxcb-randr0
libxcb-render-util.so.0 libxcb-render-util0
libxcb-shape.so.0 libxcb-shape0
libxcb-xinerama.so.0 libxcb-xinerama0
libxcb-xkb.so.1 libxcb-xkb1
libxkbcommon.so.0 libxkbcommon0
libxkbcommon-x11.so.0 libxkbcommon-x11-0
libGL.so.1 libgl1
libEGL.so.1 libegl1
libdbus-1.so.3 libdbus-1-3
libfontconfig.so.1 libfontconfig1
libglib-2.0.so.0 libglib2.0-0
LIBRARIES
    has_library swrast_dri.so || has_library libgallium || echo "libgl1-mesa-dri"
}

case "${1:-}" in
python) what="a Python with its venv module" ;;
screen) what="a virtual screen for the tests of the window" ;;
*)
    echo "usage: $0 python|screen" >&2
    exit 2
    ;;
esac
# macOS brings its own screen, and its Python its venv; find_python.sh speaks up if not.
[ "$(uname -s)" = Linux ] || exit 0

packages=$(missing_"$1" | sort -u | tr '\n' ' ')
[ -n "$packages" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    become=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    become="sudo"
else
    become="no"
fi
if [ "$become" != no ] && command -v apt-get >/dev/null; then
    echo "Installing $packages" >&2
    $become apt-get update -qq >&2
    # shellcheck disable=SC2086  # a list of packages
    $become env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >&2
    packages=$(missing_"$1" | sort -u | tr '\n' ' ')
    [ -n "$packages" ] || exit 0
fi
echo "For $what this machine lacks: ${packages}(Debian and Ubuntu names); install them and try again." >&2
exit 1
