"""Run in an environment that holds one plugin alone: it is listed, it loads, and its class is what it says.

python tests/lists_itself.py micro-registry-memory
"""

from __future__ import annotations

import sys

from micro_core import loader
from micro_core.metadata import installed_plugins


def main(distribution: str) -> None:
    """Loads every plugin of the distribution; an error is the end."""
    mine = [p for group in installed_plugins().values() for p in group if p.distribution == distribution]
    assert mine, f"{distribution} lists no plugin"
    for plugin in mine:
        kind = plugin.group.removeprefix("micro.")
        if plugin.group == loader.EXTENSIONS:
            loader.load_extensions()
            print(f"extension {plugin.name} ({plugin.distribution} {plugin.version})")
        elif plugin.group == loader.CONTENT_TYPES:
            print(plugin.name, type(loader.ContentTypes()(plugin.name)).__name__)
        else:
            print(loader.load(kind, plugin.name))


if __name__ == "__main__":
    main(sys.argv[1])
