"""`python -m micro_cli`."""

from micro_cli.main import main

main()
