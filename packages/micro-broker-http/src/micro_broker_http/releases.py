"""How releases of Go Micro find the subscribers of a topic, and what they post to them (WIRE §6).

             registered as            posted to      the topic of an event is its header
    to 1.12  topic:<topic>            /_sub          :topic
    to 1.17  <topic>                  /_sub          :topic
    1.18     go.micro.http.broker     /_sub          :topic
    2.5 on   micro.http.broker        /              Micro-Topic

The version of the record is everywhere the queue, or `ff.http.broadcast`. Ours are registered in the last way always,
and post to each other in it alone; the older ones are for who has Go Micro of that age. Each is a record of its own,
with a node id of its own, since registries keep nodes by their ids.
"""

from __future__ import annotations

from enum import Enum

SERVICE = "micro.http.broker"


class Release(Enum):
    """The first release of Go Micro with that way."""

    V1_0 = "v1.0"
    V1_13 = "v1.13"
    V1_18 = "v1.18"
    V2_5 = "v2.5"

    def service(self, topic: str) -> str:
        """The name that subscribers of the topic are registered by."""
        return _NAMES[self].format(topic=topic)

    @property
    def per_topic(self) -> bool:
        """Whether every topic is a service of its own."""
        return self in (Release.V1_0, Release.V1_13)

    @property
    def path(self) -> str:
        """Where events are posted to."""
        return "/" if self is Release.V2_5 else "/_sub"

    @property
    def topic_header(self) -> str:
        """The header of an event that names its topic."""
        return "Micro-Topic" if self is Release.V2_5 else ":topic"


_NAMES = {
    Release.V1_0: "topic:{topic}",
    Release.V1_13: "{topic}",
    Release.V1_18: "go.micro.http.broker",
    Release.V2_5: SERVICE,
}


def release_of(name: str, older: frozenset[Release]) -> Release | None:
    """In which way a service of that name may hold subscribers; None for one that holds none."""
    if name == SERVICE:
        return Release.V2_5
    if name == _NAMES[Release.V1_18]:
        found = Release.V1_18
    else:
        found = Release.V1_0 if name.startswith("topic:") else Release.V1_13
    return found if found in older else None
