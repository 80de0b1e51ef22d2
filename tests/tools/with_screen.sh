#!/bin/sh
# Runs a command on a virtual screen with a session bus of its own, so that no test touches the user's desktop.
# Where there is no Xvfb (macOS) the command runs as it is.
set -eu
if ! command -v xvfb-run >/dev/null 2>&1 || ! command -v dbus-run-session >/dev/null 2>&1; then
    exec "$@"
fi
unset WAYLAND_DISPLAY DBUS_SESSION_BUS_ADDRESS
exec dbus-run-session -- xvfb-run -a -s "-screen 0 1440x1000x24 -nolisten tcp" "$@"
