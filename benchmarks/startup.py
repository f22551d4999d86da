"""Import times over a bare interpreter, and from process start to the first served call; medians of fresh processes.

python benchmarks/startup.py [--runs 15]

Modules are compiled beforehand, as installers do.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from statistics import median

FIRST_CALL = """
import asyncio, micro
service = micro.Service("first")

@service.handler
class Say:
    async def hello(self, name: str) -> str:
        return name

async def main():
    async with service:
        assert await service.client.call("first", "Say.Hello", "Ada", str) == "Ada"
        print("served", flush=True)

asyncio.run(main())
"""

PROGRAMS = {
    "bare interpreter": "pass",
    "import micro_core": "import micro_core",
    "import micro": "import micro",
}


def seconds(program: str, until: bytes = b"") -> float:
    """From starting a process to its end, or to its first line of output."""
    environment = {**os.environ, "MICRO_REGISTRY": "memory", "PYTHONDONTWRITEBYTECODE": ""}
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    if until:
        assert process.stdout.readline().strip() == until
        elapsed = time.perf_counter() - started
        process.kill()
        process.wait()
    else:
        process.wait()
        elapsed = time.perf_counter() - started
    process.stdout.close()
    return elapsed


def main() -> None:
    """Prints the medians, and what each adds to the bare interpreter."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    seconds(FIRST_CALL, b"served")  # compiles what is not
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(runs):
        for name, program in PROGRAMS.items():
            taken[name].append(seconds(program))
    bare = median(taken["bare interpreter"])
    for name, times in taken.items():
        print(f"{name:<44}{median(times) * 1000:>7.0f} ms{(median(times) - bare) * 1000:>+8.0f} ms")
    first = median(seconds(FIRST_CALL, b"served") for _ in range(runs))
    print(f"{'process start to first served call (memory)':<44}{first * 1000:>7.0f} ms")


if __name__ == "__main__":
    main()
