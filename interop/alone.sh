#!/bin/sh
# Runs a command in a network namespace of its own, where multicast stays on the loopback interface; where none can be
# made, as it is. `INTEROP_ALONE` tells the command.
set -e
if [ "${INTEROP_ALONE:-}" = making ]; then
  ip link set lo up
  ip link set lo multicast on
  ip route add 224.0.0.0/4 dev lo src 127.0.0.1
  INTEROP_ALONE=1 exec "$@"
fi
if command -v ip > /dev/null && command -v unshare > /dev/null; then
  for flags in -Urn -n; do
    if unshare "$flags" ip link set lo up 2> /dev/null; then
      INTEROP_ALONE=making exec unshare "$flags" sh "$0" "$@"
    fi
  done
fi
exec "$@"
