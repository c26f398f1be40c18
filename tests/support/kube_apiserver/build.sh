#!/bin/sh
# Builds kube-apiserver and kube-controllers into the folder DIR from the published Go modules of Kubernetes: its API
# server as it is, and main.go beside this file, which runs three of its controllers. Takes a Go of at least the version
# they name, some GB in Go's caches and, the first time, patience.
#   sh tests/support/kube_apiserver/build.sh DIR
#   LOADPROOF_KUBE_APISERVER=DIR make test PYTEST_ARGS="tests/integration -k kubernetes"
set -eu
VERSION=1.34.1
mkdir -p "$1"
out=$(cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../kubernetes_module.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/main.go" "$work/main.go"
cd "$work"
kubernetes_module kube-controllers "$VERSION"
printf '//go:build tools\n\npackage main\n\nimport _ "k8s.io/kubernetes/cmd/kube-apiserver"\n' >tools.go
go mod tidy -e >/dev/null 2>&1
nice go build -v -trimpath -ldflags=-s -o "$out/" k8s.io/kubernetes/cmd/kube-apiserver .
