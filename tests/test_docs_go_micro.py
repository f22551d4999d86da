"""Coming from Go Micro: each of its variables and option functions stands on the page, as its sources have them."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "docs" / "coming-from-go-micro.md").read_text(encoding="utf-8")

VARIABLES = """
    MICRO_BROKER MICRO_BROKER_ADDRESS MICRO_CLIENT MICRO_CLIENT_POOL_SIZE MICRO_CLIENT_POOL_TTL
    MICRO_CLIENT_REQUEST_TIMEOUT MICRO_CLIENT_RETRIES MICRO_REGISTER_INTERVAL MICRO_REGISTER_TTL MICRO_REGISTRY
    MICRO_REGISTRY_ADDRESS MICRO_SELECTOR MICRO_SERVER MICRO_SERVER_ADDRESS MICRO_SERVER_ADVERTISE MICRO_SERVER_ID
    MICRO_SERVER_METADATA MICRO_SERVER_NAME MICRO_SERVER_VERSION MICRO_TRANSPORT MICRO_TRANSPORT_ADDRESS
    MICRO_DEBUG_PROFILE MICRO_RUNTIME MICRO_RUNTIME_SOURCE MICRO_CONFIG MICRO_STORE MICRO_STORE_ADDRESS
    MICRO_STORE_DATABASE MICRO_STORE_TABLE MICRO_TRACER MICRO_TRACER_ADDRESS MICRO_AUTH MICRO_AUTH_ID
    MICRO_AUTH_NAMESPACE MICRO_AUTH_PRIVATE_KEY MICRO_AUTH_PROVIDER MICRO_AUTH_PROVIDER_CLIENT_ID
    MICRO_AUTH_PROVIDER_CLIENT_SECRET MICRO_AUTH_PROVIDER_ENDPOINT MICRO_AUTH_PROVIDER_REDIRECT
    MICRO_AUTH_PROVIDER_SCOPE MICRO_AUTH_PUBLIC_KEY MICRO_AUTH_SECRET MICRO_DISCORD_PREFIX MICRO_DISCORD_TOKEN
    MICRO_DISCORD_WHITELIST MICRO_SLACK_DEBUG MICRO_SLACK_TOKEN MICRO_TELEGRAM_DEBUG MICRO_TELEGRAM_TOKEN
    MICRO_TELEGRAM_WHITELIST
"""
"""Of the flags of v1.1.0, v1.18.0, v2.9.1 and v4.11.0."""

FUNCTIONS = {
    "micro": """
        Broker Cache Cmd Client Context Handle HandleSignal Profile Server Store Registry Tracer Auth Config Selector
        Transport Runtime Address Name Version Metadata Flags Action RegisterTTL RegisterInterval WrapClient WrapCall
        WrapHandler WrapSubscriber AddListenOption BeforeStart BeforeStop AfterStart AfterStop Logger""",
    "client": """
        Broker Codec ContentType PoolSize PoolTTL Registry Transport Selector Wrap WrapCall Backoff Retries Retry
        RequestTimeout StreamTimeout DialTimeout WithExchange PublishContext WithAddress WithSelectOption
        WithCallWrapper WithBackoff WithRetry WithRetries WithRequestTimeout WithConnClose WithStreamTimeout
        WithDialTimeout WithServiceToken WithCache WithMessageContentType WithContentType StreamingRequest WithRouter
        WithLogger""",
    "server": """
        Name Id Version Address Advertise Broker Codec Context Registry Tracer Transport Metadata RegisterCheck
        RegisterTTL RegisterInterval TLSConfig WithRouter WithRouterLogger WithLogger Wait WrapHandler WrapSubscriber
        ListenOption DebugHandler EndpointMetadata InternalHandler InternalSubscriber DisableAutoAck SubscriberQueue
        SubscriberContext""",
    "registry": """
        Addrs Timeout Secure TLSConfig RegisterTTL RegisterContext WatchService WatchContext DeregisterContext
        GetContext ListContext Services Logger""",
    "broker": """
        PublishContext Addrs Codec DisableAutoAck ErrorHandler Queue Registry Secure TLSConfig Logger
        SubscribeContext""",
    "selector": "Registry SetStrategy WithFilter WithStrategy WithLogger FilterEndpoint FilterLabel FilterVersion",
    "transport": """
        Addrs Codec Timeout Secure TLSConfig WithStream WithTimeout WithConnClose WithInsecureSkipVerify Logger
        BuffSizeH2 NetListener""",
}
"""The exported functions of the files of options of v1.1.0 and v4.11.0 that make one."""


def theirs(section: str) -> list[str]:
    """What stands as code in the first column of the tables below a heading, up to the next of its level."""
    level, _, _ = section.partition(" ")
    (text,) = re.findall(rf"^{re.escape(section)}$(.*?)(?=^{level} |^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| (`[^|]*) \|", text, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_every_variable_stands_side_by_side() -> None:
    names = theirs("## Flags and variables")
    assert not [variable for variable in VARIABLES.split() if not any(fnmatchcase(variable, name) for name in names)]


@pytest.mark.parametrize("package", FUNCTIONS)
def test_every_option_function_stands_side_by_side(package: str) -> None:
    names = theirs(f"### {package}")
    assert sorted(names) == sorted(set(names)), "one row for each"
    assert set(names) == set(FUNCTIONS[package].split())
