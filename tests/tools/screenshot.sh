#!/bin/sh
# Takes the README's picture: runs the demo's work in the real window and saves what is on the (virtual) screen.
set -eu
cd "$(dirname "$0")/../.."
exec .venv/bin/python -m tests.tools.screenshot "${1:-assets/screenshot.png}"
