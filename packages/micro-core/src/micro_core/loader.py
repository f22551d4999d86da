"""The plugin loader: from a name to a class, importing nothing but the one module that was chosen.

    selected "consul"  →  entry points of group micro.registry (metadata only)  →  the one of that name
      →  its distribution's requirement of micro-core, read without importing it
      →  import of that module alone  →  a fresh pluggy manager that knows every hook spec, with only this module in it
      →  check_pending()  →  hook micro_registry(name="consul")  →  a class, checked to be a whole Registry

Whatever goes wrong is one clear error; there is no fallback. `package.module:attr` names a class itself, without hooks,
for classes that no distribution offers.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import pluggy

from micro_core import hookspecs
from micro_core.broker import Broker
from micro_core.client import Client
from micro_core.codec import Codec
from micro_core.component import Plugin
from micro_core.errors import AmbiguousPlugin, BrokenPlugin, OptionError, UnknownPlugin, UnsupportedContentType
from micro_core.options import option_fields
from micro_core.registry import Registry
from micro_core.selector import Selector
from micro_core.server import Server
from micro_core.suggest import did_you_mean
from micro_core.transport import Transport

if TYPE_CHECKING:
    from micro_core.metadata import InstalledPlugin

T = TypeVar("T")

KINDS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "registry": Registry,
        "selector": Selector,
        "codec": Codec,
        "transport": Transport,
        "broker": Broker,
        "client": Client,
        "server": Server,
    }
)
"""The kinds of plugin that are chosen by name, and the class each must be of."""

_DECLARED = {"registry": ("reach",), "codec": ("content_types",), "broker": ("capabilities",)}
"""Class attributes that a plugin of the kind must set."""

CONTENT_TYPES = "micro.content_type"
EXTENSIONS = "micro.extension"
DIRECTORY = "docs/plugins/directory.md"
"""Where known plugins are listed, ours and others'."""

DISTRIBUTIONS: Mapping[str, str] = MappingProxyType(
    {
        "application/json": "micro-codec-json",
        "application/msgpack": "micro-codec-msgpack",
        "application/octet-stream": "micro-codec-bytes",
        "application/protobuf": "micro-codec-proto",
    }
)
"""The distributions of this repository, by the content type that they bring."""


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """A plugin class and where it came from; `plugin` is None for a class that was named as `package.module:attr`."""

    kind: str
    name: str
    cls: type[T]
    plugin: InstalledPlugin | None

    def __str__(self) -> str:
        origin = f"{self.plugin.distribution} {self.plugin.version}" if self.plugin else "named directly"
        return f"{self.kind} {self.name} ({origin})"


def plugins(group: str) -> tuple[InstalledPlugin, ...]:
    """The installed plugins of a group, for example `micro.registry`, without importing any of them."""
    from micro_core.metadata import installed_plugins

    return installed_plugins().get(group, ())


def load(kind: str, wanted: str, *, selected_by: str = "", references: bool = True) -> Loaded[Any]:
    """The class of a kind that a person chose by `name`, `name@distribution` or `package.module:attr`.

    Args:
        kind: a key of KINDS.
        wanted: what was written.
        selected_by: where it was written, for error texts: `MICRO_REGISTRY in the environment`.
        references: whether `package.module:attr` is accepted; a config file must not name code.

    Raises:
        UnknownPlugin: nothing of that name is installed.
        AmbiguousPlugin: several distributions claim the name.
        BrokenPlugin: it cannot be imported, answers no hook, is not a whole class of its kind, or asks for another
            micro-core.
    """
    if kind not in KINDS:
        raise UnknownPlugin(f"there is no kind of plugin {kind!r}; {did_you_mean(kind, KINDS)}")
    where = f" (selected by {selected_by})" if selected_by else ""
    if ":" in wanted:
        if not references:
            raise UnknownPlugin(
                f"{kind} {wanted!r}{where}: a file may name installed plugins only; "
                f"name a class in code, on the command line or by MICRO_{kind.upper()}"
            )
        title = f"{kind} {wanted!r}{where}"
        return Loaded(kind, wanted, _checked(kind, _resolve(wanted, title), title), None)
    plugin = _choose(f"micro.{kind}", kind, wanted, where)
    return Loaded(kind, plugin.name, load_plugin(kind, plugin, where), plugin)


def manager_of(plugin: InstalledPlugin) -> tuple[pluggy.PluginManager, str]:
    """A manager that holds one installed plugin, which is imported, and what to call it. Raises BrokenPlugin."""
    title = f"{plugin.group.removeprefix('micro.')} {plugin.name!r} of {plugin.distribution} {plugin.version}"
    return _manager_of([(plugin, _import(plugin, title))], title), title


def load_plugin(kind: str, plugin: InstalledPlugin, where: str = "") -> type[Any]:
    """Imports one installed plugin and asks its hook for the class. Raises BrokenPlugin."""
    title = f"{kind} {plugin.name!r} of {plugin.distribution} {plugin.version}{where}"
    manager = _manager_of([(plugin, _import(plugin, title))], title)
    hook = f"micro_{kind}"
    try:
        answer = getattr(manager.hook, hook)(name=plugin.name)
    except Exception as error:
        raise BrokenPlugin(f"{title}: its hook {hook} failed: {type(error).__name__}: {error}") from error
    if answer is None:
        raise BrokenPlugin(f"{title} is registered, but no @hookimpl {hook} in {plugin.module} answers for it")
    return _checked(kind, answer, title)


class ContentTypes:
    """The installed codecs by content type: the `Codecs` that clients and servers are given.

    Found through entry points of group `micro.content_type`, imported when first asked for, built with their default
    options. `codecs` holds those that are there already, by content type.
    """

    def __init__(self, codecs: Mapping[str, Codec] | None = None) -> None:
        self._codecs: dict[str, Codec] = dict(codecs or {})
        self._installed: dict[str, list[InstalledPlugin]] = {}
        for plugin in plugins(CONTENT_TYPES):
            self._installed.setdefault(plugin.name, []).append(plugin)

    @property
    def content_types(self) -> tuple[str, ...]:
        """Every content type that is installed, sorted."""
        return tuple(sorted({*self._codecs, *self._installed}))

    def __call__(self, content_type: str) -> Codec:
        """The codec of a bare content type. Raises UnsupportedContentType, AmbiguousPlugin or BrokenPlugin."""
        codec = self._codecs.get(content_type)
        if codec is None:
            codec = self._codecs[content_type] = self._load(content_type)
        return codec

    def _load(self, content_type: str) -> Codec:
        candidates = self._installed.get(content_type)
        if not candidates:
            home = DISTRIBUTIONS.get(content_type)
            cure = f"; it comes with {home}, see {DIRECTORY}" if home else ""
            known = did_you_mean(content_type, self.content_types)
            raise UnsupportedContentType(f"no codec for content type {content_type!r} is installed{cure}; {known}")
        if len(candidates) > 1:
            raise AmbiguousPlugin(f"content type {content_type!r} is claimed by {_claimants(candidates)}; remove one")
        cls: type[Codec] = load_plugin("codec", candidates[0])
        if content_type not in cls.content_types:
            raise BrokenPlugin(f"{cls.__qualname__} of {candidates[0].distribution} does not speak {content_type!r}")
        try:
            return cls(cls.Options())  # type: ignore[call-arg]
        except Exception as error:
            raise BrokenPlugin(f"codec {cls.__qualname__} of {candidates[0].distribution}: {error}") from error


def load_extensions(disabled: Iterable[str] = ()) -> pluggy.PluginManager:
    """A manager that holds every installed extension but those named, ordered by name; hooks answer in that order.

    Raises:
        BrokenPlugin: one of them cannot be imported or has a hook that does not exist; the text says how to go without.
        UnknownPlugin: a name that is disabled is not installed.
        AmbiguousPlugin: two distributions offer one name.
    """
    installed = plugins(EXTENSIONS)
    _one_claimant_each(installed)
    off = set(disabled)
    unknown = off - {plugin.name for plugin in installed}
    if unknown:
        name = min(unknown)
        raise UnknownPlugin(
            f"extension {name!r} (in MICRO_EXTENSIONS_DISABLED) is not installed; "
            f"{did_you_mean(name, [plugin.name for plugin in installed])}"
        )
    modules = []
    for plugin in reversed(installed):  # pluggy calls the last registered first
        if plugin.name in off:
            continue
        title = (
            f"extension {plugin.name!r} of {plugin.distribution} {plugin.version} "
            f"(go without it by MICRO_EXTENSIONS_DISABLED={plugin.name})"
        )
        module = _import(plugin, title)
        _manager_of([(plugin, module)], title)
        modules.append((plugin, module))
    return _manager_of(modules, "extensions")


def _one_claimant_each(installed: tuple[InstalledPlugin, ...]) -> None:
    for first, second in pairwise(installed):  # sorted by name
        if first.name == second.name:
            raise AmbiguousPlugin(f"extension {first.name!r} is claimed by {_claimants([first, second])}; remove one")


def _choose(group: str, kind: str, wanted: str, where: str) -> InstalledPlugin:
    from micro_core.metadata import normal

    name, _, distribution = wanted.partition("@")
    distribution = normal(distribution)
    installed = plugins(group)
    named = [plugin for plugin in installed if plugin.name == name]
    chosen = [plugin for plugin in named if not distribution or plugin.distribution == distribution]
    if len(chosen) == 1:
        return chosen[0]
    if not named:
        known = did_you_mean(name, {plugin.name for plugin in installed})
        hint = "" if known.endswith("?") else f"; it would come with a distribution such as micro-{kind}-{name}"
        raise UnknownPlugin(f"no {kind} named {name!r} is installed{where}; see {DIRECTORY}; {known}{hint}")
    if not chosen:
        raise UnknownPlugin(f"{kind} {name!r} is not offered by {distribution!r}{where}; it is by {_claimants(named)}")
    ways = " or ".join(f"{name}@{plugin.distribution}" for plugin in chosen)
    raise AmbiguousPlugin(f"{kind} {name!r}{where} is claimed by {_claimants(chosen)}; choose one by writing {ways}")


def _claimants(claiming: Iterable[InstalledPlugin]) -> str:
    return " and ".join(f"{plugin.distribution} {plugin.version}" for plugin in claiming)


def _import(plugin: InstalledPlugin, title: str) -> ModuleType:
    _check_core(plugin, title)
    if not all(part.isidentifier() for part in plugin.module.split(".")):
        raise BrokenPlugin(
            f"{title}: its entry point is {plugin.module!r}; it must name the module that holds the hook"
        )
    try:
        return importlib.import_module(plugin.module)
    except ModuleNotFoundError as error:
        if error.name and f"{plugin.module}.".startswith(f"{error.name}."):
            raise BrokenPlugin(f"{title}: its module {plugin.module} does not exist; install it again") from error
        raise BrokenPlugin(
            f"{title} needs the module {error.name!r}, which is not installed; "
            f"install {plugin.distribution} with its dependencies"
        ) from error
    except (Exception, SystemExit) as error:
        raise BrokenPlugin(f"{title} fails while being imported: {type(error).__name__}: {error}") from error


def _check_core(plugin: InstalledPlugin, title: str) -> None:
    from micro_core.metadata import core_version, satisfies

    if plugin.requires and not satisfies(core_version(), plugin.requires):
        raise BrokenPlugin(
            f"{title} asks for micro-core{plugin.requires}, but {core_version()} is installed; "
            f"install a release of {plugin.distribution} for it"
        )


def _manager_of(modules: Iterable[tuple[InstalledPlugin, ModuleType]], title: str) -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    try:
        for plugin, module in modules:
            manager.register(module, name=f"{plugin.group}:{plugin.name}@{plugin.distribution}")
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise BrokenPlugin(f"{title} has a hook that does not fit: {error}") from error
    except ValueError as error:  # one module under two names
        raise BrokenPlugin(f"{title}: {error}") from error
    return manager


def _resolve(reference: str, title: str) -> object:
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:
        raise BrokenPlugin(f"{title} cannot be imported: {type(error).__name__}: {error}") from error


def _checked(kind: str, answer: object, title: str) -> type[Any]:
    expected = KINDS[kind]
    if not isinstance(answer, type) or not issubclass(answer, expected):
        raise BrokenPlugin(f"{title} is {answer!r}, not a class derived from micro_core.{expected.__name__}")
    missing = sorted(getattr(answer, "__abstractmethods__", ()))
    if missing:
        raise BrokenPlugin(f"{title}: {answer.__qualname__} does not implement {', '.join(missing)}")
    unset = [name for name in _DECLARED.get(kind, ()) if not hasattr(answer, name)]
    if unset:
        raise BrokenPlugin(f"{title}: {answer.__qualname__} does not declare {', '.join(unset)}")
    cls: type[Plugin] = answer
    try:
        option_fields(cls.Options)
    except OptionError as error:
        raise BrokenPlugin(f"{title}: {error}") from error
    return cls
