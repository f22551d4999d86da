"""A service whose class was made from dictionary.proto; `generate.sh` makes it again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import micro
from dictionary_micro import Dictionary
from dictionary_pb2 import Entry, Size, Word

service = micro.Service("dictionary")


@service.handler
class Words(Dictionary):
    def __init__(self) -> None:
        self._meanings: dict[str, str] = {}

    async def look_up(self, request: Word) -> Entry:
        meaning = self._meanings.get(request.text)
        if meaning is None:
            raise micro.errors.NotFound(f"nobody has told what {request.text!r} means")
        return Entry(word=request.text, meaning=meaning)

    async def browse(self, request: Word) -> AsyncIterator[Entry]:
        for word in sorted(self._meanings):
            if word.startswith(request.text):
                yield Entry(word=word, meaning=self._meanings[word])

    async def learn(self, requests: AsyncIterator[Entry]) -> Size:
        async for entry in requests:
            self._meanings[entry.word] = entry.meaning
        return Size(entries=len(self._meanings))

    async def translate(self, requests: AsyncIterator[Word]) -> AsyncIterator[Entry]:
        async for word in requests:
            yield await self.look_up(word)


if __name__ == "__main__":
    service.run()
