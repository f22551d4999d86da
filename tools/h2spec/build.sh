#!/bin/sh
# Builds h2spec 2.6.0 from its published Go module, once, and prints the path of the binary in the cache.
set -eu
cd "$(dirname "$0")"
key=$(cat go.mod go.sum | sha256sum | cut -c1-16)
binary=${XDG_CACHE_HOME:-$HOME/.cache}/micro-python/h2spec-2.6.0-$key/h2spec
if [ ! -x "$binary" ]; then
  folder=$(dirname "$binary")
  mkdir -p "$folder"
  work=$(mktemp -d "$folder/build.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  CGO_ENABLED=0 GOFLAGS='-mod=readonly -modcacherw -buildvcs=false' GOMODCACHE="$work/mod" GOCACHE="$work/cache" \
    go build -trimpath -ldflags '-s -w' -o "$work/h2spec" github.com/summerwind/h2spec/cmd/h2spec
  mv "$work/h2spec" "$binary"
fi
echo "$binary"
