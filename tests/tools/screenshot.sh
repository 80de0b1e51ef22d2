#!/bin/sh
# Takes the README's picture: does the demo's work on a throw-away home, opens the real window on it and saves what it shows.
set -eu
cd "$(dirname "$0")/../.."
picture="${1:-assets/screenshots/home-light.png}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
.venv/bin/hearth demo --home "$work/home" --keep
mkdir -p "$(dirname "$picture")"
.venv/bin/python tests/tools/screenshot.py "$picture" --home "$work/home"
