"""How nodes are announced, found and missed: the rules and their numbers.

Plain DNS-SD (RFC 6762, 6763) has no answer to a killed process: its records live for two minutes and more. Short
lifetimes for every record would mean to repeat every record every second. So the truth about a process is one small
record of its own, the *beat*:

    <origin>._beat._micro._tcp.local.  TXT, TTL 5:  sequence, fingerprints of its nodes, fingerprints of those that left

An *origin* is one registry object while it is open, a random name; a *fingerprint* is eight bytes of the digest of a
node's TXT record. A node is listed exactly while the newest beat of a living origin holds its fingerprint and the text
with that fingerprint is known. Everything follows from this one sentence, whatever is lost, doubled or reordered:

- Announcing is sending the node's records and a beat. If the records are lost, the beat shows that one is missing and
  it is asked for by fingerprint (`<fingerprint>._record…`); if the beat is lost, the next one says the same.
- A goodbye is a beat without the fingerprint, which stands among those that left for ten seconds; closing sends a beat
  with TTL 0. Beats carry a sequence number, so a late one takes nothing back.
- A crash is silence. Origins beat every second, a beat lives five; from half of that on, the origin is asked by name,
  several times, before its nodes are dropped. A reader that was itself held up gives everybody that time in addition.

Beats cost about 120 bytes and 8 per node. They are sent only while somebody listens: who watches or looks up asks
`_beat…` every three seconds, unless another just did, and an origin beats for ten seconds after such a question. Who
does not listen drops answers unread. A newcomer asks for beats, then for the records they name: an answer is multicast,
so that others who wanted the same records have them too and hold back their own questions.

The records of a node are DNS-SD's (PTR, SRV, TXT, A below `_micro._tcp.local.`), announced twice and withdrawn by TTL 0
as it asks, and questions for them are answered: other software can browse our nodes, only it learns of a crash late.
Names are not probed for: they hold a digest of service and node id, and ids are unique.

A host that speaks IPv4 and IPv6 on an interface would say everything twice, and hear it. So it puts a word into what it
says by IPv6 there, a record `_ipv4._beat…` at the end, and passes over what has that word: answers unread, questions as
far as it would answer them. Between two such hosts IPv4 carries everything, and a goodbye by it is all there is to one;
by IPv6 they ask every three seconds whether somebody is there who has nothing else, and whoever is reads and is read.

Everything heard is untrusted. An origin belongs to the address it was first heard from, so nobody else's beat can end
it; of two addresses that claim one node id, the first keeps it while it lives; of two origins at one address, the later
one: a process that was restarted. A loopback address is believed only on the own host. Answers must come from the
protocol's port (RFC 6762 §6). A packet that cannot be read whole changes nothing, and every table has an end. While
more arrives than is read, so that the system drops packets, silence means nothing, and nobody is missed.

The three parts know no sockets, no clock and no event loop: `Responder` (what we say), `Listener` (what we heard) and
`Engine` (both, as one). Times are seconds of any monotonic clock.
"""

from __future__ import annotations

LEASE = 5
"""Seconds that a beat lives."""
SUSPECT = 2.5
"""Seconds of silence after which an origin is asked by name, and again every ASK_SUSPECT."""
ASK_SUSPECT = 0.6
BEAT = 1.0
"""Seconds between beats while somebody listens."""
ASK_BEATS = 3.0
"""Seconds between a listener's questions."""
LISTENED = 10.0
"""Seconds that an origin beats after a question."""
FIRST_ASKS = (0.0, 0.08, 0.3, 0.9)
"""When a new listener asks, in seconds after it began."""
GONE = 10.0
"""Seconds that a goodbye is repeated in beats."""
AGAIN = 1.0
"""Seconds after which a new node's records are sent a second time (RFC 6762 §8.3)."""
SPACING = 0.1
"""Least seconds between two answers of the same content."""
JITTER = 0.01
"""Most seconds by which an answer is put off, so that answers of many do not collide."""
REASK = (0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 5.0)
"""Seconds between questions for a record that is missing; the last one is repeated."""
TOGETHER = 0.03
"""Questions that are due within so many seconds share packets."""
QUIET = 0.08
"""Seconds without news after which a first lookup is settled, not before SETTLE or, when nobody answers, ALONE."""
SETTLE = 0.1
ALONE = 0.18
AT_MOST = 0.5
"""Seconds after which a first lookup is answered in any case: a call waits for one second (discovery's timeout)."""
LOOKUP = 30.0
"""Seconds that the cache is kept up after a lookup."""
STALL = 0.5
"""Being called later than this is a stall of our own, and no sign of others' silence."""

MAX_OWN = 1000
"""Nodes of one origin: what fits into one beat."""
MAX_ORIGINS = 4096
MAX_ORIGINS_PER_ADDRESS = 256
MAX_NAMED = 100_000
"""Fingerprints of all beats; of one address, MAX_RECORDS."""
MAX_RECORDS = 20_000
MAX_RECORD_BYTES = 64 * 1024 * 1024
"""Bytes of JSON of all records kept."""
MAX_ORPHANS = 2000
"""Records heard that no beat has named yet."""
MAX_BAD = 1000
"""Fingerprints of texts that are no records, remembered so that none is asked for again."""
MAX_WANTED = 2000
"""Records asked for at a time; the rest waits its turn."""
QUESTIONS = 30
"""Questions that we put into one packet."""
MAX_QUESTIONS = 64
"""Questions of one packet that are answered."""
