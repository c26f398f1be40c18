#!/bin/sh
# The steps of the image's build stage; the tests run them in a fresh virtual environment, too.
# VENV: the virtual environment. Run in a folder with pyproject.toml and constraints.txt.
set -eu
VENV="${VENV:-/opt/loadproof}"
case "$1" in
dependencies)
    # What pyproject.toml names, without the package itself, so that a change of code installs nothing anew.
    "$VENV/bin/python" -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
extras = project["optional-dependencies"]
print("\n".join(project["dependencies"] + extras["postgres"] + extras["kubernetes"]))
' >requirements.txt
    "$VENV/bin/python" -m pip install --quiet --only-binary :all: -c constraints.txt -r requirements.txt
    ;;
package)
    "$VENV/bin/python" -m pip install --quiet --no-deps .
    "$VENV/bin/python" -m compileall -q "$VENV/lib"
    "$VENV/bin/python" -m pip check
    "$VENV/bin/loadproof" --version
    ;;
*)
    echo "use: install.sh dependencies|package" >&2
    exit 2
    ;;
esac
