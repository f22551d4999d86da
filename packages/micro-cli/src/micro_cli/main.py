"""The entry point of the `micro` command. What a shell asks at Tab is answered without importing the rest."""

from __future__ import annotations

import os


def main() -> None:
    """Ends the process with the command's exit code."""
    if "_MICRO_COMPLETE" in os.environ:
        from micro_cli import completing

        completing.main()
        return
    from micro_cli.program import run

    run()
