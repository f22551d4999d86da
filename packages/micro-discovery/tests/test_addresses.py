"""What a server tells about itself."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from micro_core import ConfigurationError
from micro_discovery import host_id, reachable_address
from micro_discovery.addresses import choose, interface_addresses, split_address, unusable


def chosen(*addresses: str) -> str:
    return str(choose([ip_address(each) for each in addresses]))


@pytest.mark.parametrize(
    ("bound", "advertise", "expected"),
    [
        ("127.0.0.1:8080", "", "127.0.0.1:8080"),
        ("greeter.local:8080", "", "greeter.local:8080"),
        ("[::1]:8080", "", "[::1]:8080"),
        ("0.0.0.0:8080", "10.1.2.3", "10.1.2.3:8080"),
        (":8080", "greeter.example.com:80", "greeter.example.com:80"),
        (":8080", "[2001:db8::1]:80", "[2001:db8::1]:80"),
        (":8080", "[2001:db8::1]", "[2001:db8::1]:8080"),
        (":8080", "2001:db8::1", "[2001:db8::1]:8080"),
        ("[::]:8080", "localhost", "localhost:8080"),
    ],
)
def test_the_address_to_register(bound: str, advertise: str, expected: str) -> None:
    assert reachable_address(bound, advertise) == expected


@pytest.mark.parametrize("bound", [":8080", "0.0.0.0:8080", "[::]:8080"])
def test_a_wildcard_becomes_what_the_interfaces_offer(bound: str) -> None:
    try:
        expected = choose(interface_addresses())
    except ConfigurationError as error:
        with pytest.raises(ConfigurationError, match=re.escape(str(error))):
            reachable_address(bound)
    else:
        parts = split_address(reachable_address(bound))
        assert parts == (str(expected), 8080)


def test_the_first_private_ipv4_address_wins() -> None:
    every = ("127.0.0.1", "2001:db8::1", "169.254.1.1", "203.0.113.5", "100.64.0.9", "10.0.0.1", "fe80::1")
    assert chosen(*every) == "100.64.0.9"
    assert chosen("127.0.0.1", "2001:db8::1", "169.254.1.1", "203.0.113.5") == "203.0.113.5"
    assert chosen("2001:db8::1", "169.254.1.1") == "2001:db8::1"


@pytest.mark.parametrize("addresses", [(), ("127.0.0.1", "::1"), ("::1", "fe80::1")])
def test_no_interface_is_an_error_with_its_cure(addresses: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError, match="MICRO_SERVER_ADVERTISE=host"):
        chosen(*addresses)


@pytest.mark.parametrize("advertise", ["http://h:80", "h:80:90", "u@h", "h h", "h:99999", "\0", "h:"])
def test_an_advertised_address_that_cannot_be_read(advertise: str) -> None:
    with pytest.raises(ConfigurationError, match="neither a host nor host:port"):
        reachable_address("127.0.0.1:8080", advertise)


@pytest.mark.parametrize(("bound", "advertise"), [("127.0.0.1:0", ""), (":0", "h"), (":80", "h:0")])
def test_port_0_is_no_port_to_register(bound: str, advertise: str) -> None:
    with pytest.raises(ConfigurationError, match="no port"):
        reachable_address(bound, advertise)


def test_a_bound_address_that_cannot_be_read() -> None:
    with pytest.raises(ConfigurationError, match="not host:port"):
        reachable_address("nonsense")


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_an_address_or_a_clear_error(bound: str, advertise: str) -> None:
    with suppress(ConfigurationError):
        assert unusable(reachable_address(bound, advertise)) == ""


def test_the_host_id_is_equal_in_every_process_and_says_nothing() -> None:
    script = "from micro_discovery import host_id; print(host_id())"
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=20)
    assert other.stdout.strip() == host_id()
    assert re.fullmatch("[0-9a-f]{16}", host_id())
