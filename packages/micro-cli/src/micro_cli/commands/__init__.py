"""One module per command, imported when the command is called; each holds a `command`."""
