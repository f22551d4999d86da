"""Tests of a service: it runs for real, in the memory of the test's process, with fakes for the services that it calls.

    async with micro.testing.run(service, fakes={"mail": FakeMail()}) as app:
        user = await app.client.proxy(Users, "users").create(CreateUser("a@b"))
        assert app.published("users.created", UserCreated) == [UserCreated(user.id)]

Registry, transport and broker are the memory plugins, with stores that are made for this run and forgotten after it.
Nothing is read from the environment or from `micro.toml`. Everything else is what the service would do elsewhere:
codecs, client and server, middleware, lifespans and hooks. pytest finds the fixtures of `micro.testing.plugin`.
"""

from micro.testing.app import App, run
from micro.testing.clock import Clock

__all__ = ["App", "Clock", "run"]
