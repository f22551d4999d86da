"""What plugins tell `micro doctor`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from micro_core import Finding, loader
from micro_core.doctor import findings_of
from micro_core.errors import BrokenPlugin
from micro_core.metadata import InstalledPlugin

Install = Callable[..., None]


def installed() -> InstalledPlugin:
    (plugin,) = [each for each in loader.plugins("micro.registry") if each.name == "shelf"]
    return plugin


HOOK = "from micro_core import Finding, hookimpl\n@hookimpl\ndef micro_doctor"


def test_a_plugin_says_what_it_found_of_its_options(install: Install) -> None:
    code = f"{HOOK}(options): yield Finding('warning', f'{{options}} is narrow', 'widen it')"
    install("micro-shelf", name="shelf", module="micro_shelf", code=code)
    assert findings_of(installed(), "the bay") == (Finding("warning", "the bay is narrow", "widen it"),)


def test_a_hook_may_leave_the_options_out_and_find_nothing(install: Install) -> None:
    install("micro-shelf", name="shelf", module="micro_shelf", code=f"{HOOK}(): return None")
    assert findings_of(installed()) == ()


def test_a_plugin_without_the_hook_has_nothing_to_say(install: Install) -> None:
    install("micro-shelf", name="shelf", module="micro_shelf", code="")
    assert findings_of(installed()) == ()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return 1 / 0", "its hook micro_doctor failed: ZeroDivisionError"),
        ("return ['all is well']", "answered 'all is well', not a micro_core.Finding"),
        ("yield Finding('error', 'it burns')", "it burns' has no cure"),
    ],
)
def test_a_broken_hook_is_named(install: Install, body: str, says: str) -> None:
    install("micro-shelf", name="shelf", module="micro_shelf", code=f"{HOOK}(): {body}")
    with pytest.raises(BrokenPlugin, match=r"registry 'shelf' of micro-shelf 1\.2") as caught:
        findings_of(installed())
    assert says in str(caught.value)


def test_a_finding_has_a_level_that_is_known() -> None:
    with pytest.raises(ValueError, match="one of ok, warning, error, not 'fatal'"):
        Finding("fatal", "it burns", "run")  # type: ignore[arg-type]
