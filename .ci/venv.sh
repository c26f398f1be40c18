#!/bin/sh
# Creates the virtual environment DIR with the first suitable Python: $PYTHON, python3, then the versioned names.
# An environment that is there and works is kept.
set -eu
dir=$1

suits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

if [ -x "$dir/bin/python" ] && "$dir/bin/python" -c 'import pip' >/dev/null 2>&1; then
    exit 0
fi
for candidate in "${PYTHON:-python3}" python3 python3.13 python3.12 python3.11 python3.14; do
    if suits "$candidate"; then
        echo "Creating $dir with $("$candidate" --version 2>&1) and installing; this takes a minute or two."
        rm -rf "$dir"
        exec "$candidate" -m venv "$dir"
    fi
done
echo "Loadproof needs Python 3.11 or newer with its venv module (Debian: apt install python3-venv)." >&2
echo "Install one, or name it: make PYTHON=/path/to/python ..." >&2
exit 1
