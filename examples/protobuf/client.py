"""Calls the dictionary in all four shapes; mypy knows every request and reply."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import micro
from dictionary_micro import dictionary_client
from dictionary_pb2 import Entry, Word


async def entries() -> AsyncIterator[Entry]:
    for line in ("mesh = services that find each other", "message = what travels", "node = one process of many"):
        word, _, meaning = line.partition(" = ")
        yield Entry(word=word, meaning=meaning)


async def words(*texts: str) -> AsyncIterator[Word]:
    for text in texts:
        yield Word(text=text)


async def main() -> None:
    async with micro.Client() as client:
        dictionary = dictionary_client(client, timeout=5)
        size = await dictionary.learn(entries())
        print(f"{size.entries} entries")
        entry = await dictionary.look_up(Word(text="node"))
        print(f"{entry.word}: {entry.meaning}")
        print("me…:", ", ".join([entry.word async for entry in dictionary.browse(Word(text="me"))]))
        async for entry in dictionary.translate(words("mesh", "message")):
            print(f"{entry.word}: {entry.meaning}")
        try:
            await dictionary.look_up(Word(text="noed"))
        except micro.errors.NotFound as error:
            print(error.detail)


if __name__ == "__main__":
    anyio.run(main)
