"""What is installed, read from metadata alone: nothing is imported here but the metadata of distributions.

The only module that uses importlib-metadata, which is slow to import; the loader imports it when it first needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from importlib_metadata import Distribution, distributions


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """One entry point of a group `micro.*`.

    Attributes:
        group: for example `micro.registry`.
        name: for example `consul`.
        module: what the entry point names.
        distribution, version: what it was installed with.
        requires: the distribution's own requirement of micro-core, for example `>=0.1,<1`; empty for none.
    """

    group: str
    name: str
    module: str
    distribution: str
    version: str
    requires: str = ""


@lru_cache(maxsize=1)
def installed_plugins() -> Mapping[str, tuple[InstalledPlugin, ...]]:
    """Every plugin by group, sorted by name and distribution. Scanned once per process."""
    return index(cast("Iterable[Distribution]", distributions()))


def index(found: Iterable[Distribution]) -> Mapping[str, tuple[InstalledPlugin, ...]]:
    """Groups the plugins of the distributions; of several copies of one distribution the first on the path counts."""
    groups: dict[str, list[InstalledPlugin]] = {}
    seen: set[str] = set()
    for distribution in found:
        text = distribution.read_text("entry_points.txt")
        if not text or "micro." not in text:
            continue
        name = normal(distribution.metadata["Name"] or "")
        if not name or name in seen:
            continue
        seen.add(name)
        requires = _core_requirement(distribution)
        for entry in distribution.entry_points:
            if entry.group.startswith("micro."):
                plugin = InstalledPlugin(entry.group, entry.name, entry.value, name, distribution.version, requires)
                groups.setdefault(entry.group, []).append(plugin)
    return {group: tuple(sorted(them, key=_order)) for group, them in groups.items()}


@lru_cache(maxsize=1)
def core_version() -> str:
    """The version of micro-core that is installed."""
    return str(Distribution.from_name("micro-core").version)


def _order(plugin: InstalledPlugin) -> tuple[str, str]:
    return plugin.name, plugin.distribution


def normal(name: str) -> str:
    """A distribution's name as it is compared: `Micro_Registry.X` is `micro-registry-x`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _core_requirement(distribution: Distribution) -> str:
    for line in distribution.requires or ():
        match = re.fullmatch(r"micro[-_.]core\s*(?:\[[^]]*\])?\s*\(?([^;()]*)\)?\s*", line.strip(), re.IGNORECASE)
        if match:  # one with a marker is conditional, and left to the installer
            return match.group(1).replace(" ", "")
    return ""


def satisfies(version: str, requirement: str) -> bool:
    """Whether a version of numbers and dots meets a comma-separated requirement; what cannot be judged is met."""
    return all(_meets(_numbers(version), clause) for clause in requirement.split(",") if clause)


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    numbers = [int(part) for part in match.group().split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _meets(have: tuple[int, ...], clause: str) -> bool:
    match = re.fullmatch(r"(>=|<=|==|!=|~=|>|<)(\d+(?:\.\d+)*)(\.\*)?", clause)
    if match is None:
        return True
    operator, wanted = match.group(1), _numbers(match.group(2))
    if match.group(3):
        same = have[: len(wanted)] == wanted
        return same if operator == "==" else not same
    if operator == "~=":
        parts = [int(part) for part in match.group(2).split(".")]
        return have >= wanted and have < (*parts[:-2], parts[-2] + 1) if len(parts) > 1 else True
    return {
        ">=": have >= wanted,
        "<=": have <= wanted,
        "==": have == wanted,
        "!=": have != wanted,
        ">": have > wanted,
        "<": have < wanted,
    }[operator]
