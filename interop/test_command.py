"""The `micro` command beside a node of each release."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import anyio
import go_peer
import pytest
from build import RELEASES
from meshes import Mesh, by_mdns

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not os.environ.get("INTEROP_ALONE"), reason="multicast would leave this host"),
]


@pytest.fixture
def mesh() -> Mesh:
    return by_mdns()


@pytest.mark.parametrize("release", RELEASES)
async def test_each_node_is_asked_in_the_protocol_that_it_speaks(mesh: Mesh, release: str) -> None:
    async with go_peer.running(release, "serve", name=mesh.service, **mesh.go) as peer:
        await peer.told("ready")
        asked = [mesh.service, "Say.Hello", "name=John", "--each", "--output", "json"]
        done = await anyio.run_process(
            [sys.executable, "-m", "micro", "call", *asked], stderr=subprocess.STDOUT, check=False
        )
    assert json.loads(done.stdout)["reply"]["msg"] == "Hello John"
