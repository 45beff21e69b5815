"""`python -m flows` is the command `voltloop`."""

from flows.cli import main

main()
