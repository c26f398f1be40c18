#!/bin/sh
# Builds OUT from the published Go modules of Kubernetes: what its API server does to a Job before keeping it. Takes a
# Go of at least the version they name, some GB in Go's caches and, the first time, patience.
#   sh tests/support/kube_validator/build.sh /tmp/kube-validator
#   LOADPROOF_KUBE_VALIDATOR=/tmp/kube-validator make test PYTEST_ARGS="tests/integration -k kubernetes_answers"
set -eu
VERSION=1.34.1
out=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/main.go" "$work/main.go"
cd "$work"
# Inside its repository Kubernetes takes its libraries from folders; outside it they are modules with versions.
go mod download -json "k8s.io/kubernetes@v$VERSION" >download.json
mod=$(sed -n 's/.*"GoMod": "\(.*\)".*/\1/p' download.json)
{
    echo "module validator"
    grep '^go ' "$mod"
    echo "require k8s.io/kubernetes v$VERSION"
    sed -nE "s#^[[:space:]]*(replace )?(k8s.io/[a-z0-9-]+) => ./staging/.*#replace \2 => \2 v0.${VERSION#1.}#p" "$mod"
} >go.mod
go mod tidy -e >/dev/null 2>&1
nice go build -trimpath -o "$out" .
