"""What `micro doctor` is told by the transport."""

from __future__ import annotations

from micro_core.doctor import findings_of
from micro_core.loader import plugins
from micro_transport_http import HTTPOptions


def told(pool_size: int) -> list[tuple[str, str]]:
    (plugin,) = [each for each in plugins("micro.transport") if each.name == "http"]
    return [(finding.level, finding.text) for finding in findings_of(plugin, HTTPOptions(pool_size=pool_size))]


def test_tcp_works_on_this_host() -> None:
    assert ("ok", "TCP works on 127.0.0.1") in told(1)


def test_a_pool_that_needs_more_files_than_are_allowed_is_a_warning() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        (warning,) = [text for level, text in told(200) if level == "warning"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "may open 256 files" in warning
