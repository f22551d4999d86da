"""The sentence that follows an unknown name."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`known are a, b; did you mean 'a'?`, as much of it as there is to say."""
    from difflib import get_close_matches  # a slow import, for error texts alone

    names = sorted(known)
    if not names:
        return "there are none"
    listed = f"known are {', '.join(names)}" if len(names) > 1 else f"known is only {names[0]}"
    close = get_close_matches(name, names, n=1, cutoff=0.6)
    return f"{listed}; did you mean {close[0]!r}?" if close else listed
