"""What the README shows is run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CLIENT = """
import asyncio
import micro
from greeter import Hello, Say

async def main():
{body}
    return reply

print(asyncio.run(main()))
"""


def test_the_service_and_the_client_of_the_readme_talk(tmp_path: Path) -> None:
    service, client = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "greeter.py").write_text(service)
    body = "".join(f"    {line}\n" for line in client.splitlines())
    (tmp_path / "client.py").write_text(CLIENT.format(body=body))
    serve = [sys.executable, "greeter.py"]
    serving = subprocess.Popen(serve, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert serving.stdout is not None
    try:
        run = [sys.executable, "client.py"]
        called = subprocess.run(run, cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=30)
        assert (called.returncode, called.stdout, called.stderr) == (0, "Hello Ada\n", "")
        assert serving.stdout.readline() == "Hello Ada\n"
    finally:
        serving.terminate()
        status = serving.wait(timeout=15)
        serving.stdout.close()
    assert status == 0


def test_the_readme_and_contributing_fit_on_a_screen() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 64
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 24
