#!/bin/sh
# Builds Consul from its published Go modules, once, and prints the path of the binary in the cache.
set -eu
cd "$(dirname "$0")"
key=$(cat go.mod go.sum main.go | sha256sum | cut -c1-16)
binary=${XDG_CACHE_HOME:-$HOME/.cache}/micro-python/consul-1.16.3-$key/consul
if [ ! -x "$binary" ]; then
  folder=$(dirname "$binary")
  mkdir -p "$folder"
  work=$(mktemp -d "$folder/build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  CGO_ENABLED=0 GOFLAGS='-mod=readonly -modcacherw -buildvcs=false' GOMODCACHE="$work/mod" GOCACHE="$work/cache" \
    go build -trimpath -ldflags '-s -w' -o "$work/consul" .
  mv "$work/consul" "$binary"
fi
echo "$binary"
