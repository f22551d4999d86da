"""`python -m micro`: the `micro` command, where it is installed."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec


def main() -> None:
    """Runs it; says what to install, with exit code 2, where it is not there."""
    if find_spec("micro_cli") is None:
        sys.stderr.write("error: the micro command is not installed; install micro-cli from where micro-service came\n")
        raise SystemExit(2)
    import_module("micro_cli.main").main()


if __name__ == "__main__":
    main()
