"""`python -m streams.cli`: the command `vigil`."""

from streams.cli import main

main()
