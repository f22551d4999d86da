"""Random bytes against every decoder, by atheris: nothing but DecodeError, and what was read survives being written.

    python fuzz/decoders.py [--seconds 60] [json msgpack proto bytes]

A process for each decoder. It begins with the bodies in `corpus/`, keeps what reaches new code in `dist/fuzz/`, and
ends at once with the body that did something else.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import atheris

HERE = Path(__file__).parent
sys.path.append(str(HERE.parent / "tests" / "messages"))

with atheris.instrument_imports(
    include=["micro_schema", "micro_codec_json", "micro_codec_msgpack", "micro_codec_proto"]
):
    from targets import TARGETS

FOUND = HERE.parent / "dist" / "fuzz"
WORDS: dict[str, list[str]] = tomllib.loads((HERE / "words.toml").read_text())


def fuzz(name: str, seconds: int) -> None:
    """Does not return: atheris ends the process."""
    kept, words = FOUND / name, FOUND / f"{name}.dict"
    kept.mkdir(parents=True, exist_ok=True)
    words.write_text("".join(f'"{word}"\n' for word in WORDS[name]))
    bounds = [f"-max_total_time={seconds}", "-max_len=512", "-timeout=10", "-rss_limit_mb=2048"]
    places = [f"-artifact_prefix={FOUND}/{name}-", f"-dict={words}", str(kept), str(HERE / "corpus" / name)]
    atheris.Setup([sys.argv[0], *bounds, "-print_final_stats=1", *places], TARGETS[name].function())
    atheris.Fuzz()


def main() -> None:
    """Prints how often each decoder was run; ends with 1 when one did what it must not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("decoders", nargs="*", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="for each decoder")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        fuzz(arguments.decoders[0], arguments.seconds)
    failed = False
    for name in arguments.decoders or TARGETS:
        command = [sys.executable, __file__, name, "--once", f"--seconds={arguments.seconds}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        runs = re.search(r"number_of_executed_units: *(\d+)", done.stdout)
        print(f"{name:<10}{int(runs[1]) if runs else 0:>14,} executions in {arguments.seconds} s", flush=True)
        if done.returncode or runs is None:
            failed = True
            print(done.stdout[-4000:])
    sys.exit(failed)


if __name__ == "__main__":
    main()
