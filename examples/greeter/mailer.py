"""The mailer: prints a line for every user that was created."""

from __future__ import annotations

from dataclasses import dataclass

import micro

service = micro.Service("mailer")


@dataclass
class UserCreated:
    name: str
    nonce: str


@service.subscriber("users.created", queue="mailer")
async def on_user_created(event: UserCreated) -> None:
    print(f"Welcome, {event.name}! ({event.nonce})", flush=True)


if __name__ == "__main__":
    service.run()
