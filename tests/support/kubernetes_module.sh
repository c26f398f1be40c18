#!/bin/sh
# Makes the module NAME in this folder, with Kubernetes of VERSION as its one requirement, for the two build.sh that read
# this file with `.`:   kubernetes_module NAME VERSION
# Inside its repository Kubernetes takes its libraries from folders; outside it they are modules with versions.
kubernetes_module() {
    go mod download -json "k8s.io/kubernetes@v$2" >download.json
    mod=$(sed -n 's/.*"GoMod": "\(.*\)".*/\1/p' download.json)
    {
        echo "module $1"
        grep '^go ' "$mod"
        echo "require k8s.io/kubernetes v$2"
        sed -nE "s#^[[:space:]]*(replace )?(k8s.io/[a-z0-9-]+) => ./staging/.*#replace \2 => \2 v0.${2#1.}#p" "$mod"
    } >go.mod
}
