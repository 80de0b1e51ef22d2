#!/bin/sh
# Finds any Python that can start the set-up; packaging/bootstrap.py then picks the right one and says so if there is none.
set -eu
here=$(dirname "$0")
for python in "${PYTHON:-}" python3 python3.13 python3.12 python3.11; do
    if [ -n "$python" ] && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1; then
        exec "$python" -B "$here/bootstrap.py" "$@"
    fi
done
echo "No Python was found: install Python 3.11, 3.12 or 3.13, or name one with PYTHON=/path/to/python3." >&2
exit 1
