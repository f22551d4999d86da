"""The entry point of the `micro` command. What a shell asks at Tab is answered without importing the rest."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Ends the process with the command's exit code."""
    for name, flag, mode in (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_WRONLY, "w"), ("stderr", os.O_WRONLY, "w")):
        if getattr(sys, name) is None:  # it was closed: `micro list >&-`
            setattr(sys, name, os.fdopen(os.open(os.devnull, flag), mode))
    try:
        if "_MICRO_COMPLETE" in os.environ:
            from micro_cli import completing

            completing.main()
            return
        from micro_cli.program import run

        run()
    except KeyboardInterrupt:  # while it was still being imported
        raise SystemExit(130) from None
