"""Started in the background, SIGINT is ignored here and in every process that a test starts; Ctrl-C is tested, too."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
