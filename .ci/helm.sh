#!/bin/sh
# Puts a pinned helm, built from its published Go module, into the folder given, unless a helm is there already.
# It prints one line and ends with 0 whatever happens: without helm, the tests that need it skip themselves by name.
set -u
VERSION=v3.18.4
LIMIT_S=600
folder=$1
if [ -x "$folder/helm" ] || command -v helm >/dev/null 2>&1; then
    exit 0
fi
if ! command -v go >/dev/null 2>&1; then
    echo "no helm and no go to build it with; the tests that render the chart are skipped"
    exit 0
fi
mkdir -p "$folder"
log=$(mktemp)
if GOBIN="$folder" timeout -k 5 "$LIMIT_S" nice go install "helm.sh/helm/v3/cmd/helm@$VERSION" >"$log" 2>&1; then
    echo "helm $VERSION is in $folder"
else
    echo "helm $VERSION could not be built ($(tail -n 1 "$log" | cut -c 1-200)); the tests that render the chart are skipped"
fi
rm -f "$log"
