#!/bin/sh
# Builds OUT from the published Go modules of Kubernetes: what its API server does to a Job before keeping it. Takes a
# Go of at least the version they name, some GB in Go's caches and, the first time, patience.
#   sh tests/support/kube_validator/build.sh /tmp/kube-validator
#   LOADPROOF_KUBE_VALIDATOR=/tmp/kube-validator make test PYTEST_ARGS="tests/integration -k kubernetes_answers"
set -eu
VERSION=1.34.1
out=$1
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../kubernetes_module.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/main.go" "$work/main.go"
cd "$work"
kubernetes_module validator "$VERSION"
go mod tidy -e >/dev/null 2>&1
nice go build -trimpath -o "$out" .
