"""The suites that hold every plugin to the sentences of its interface."""
