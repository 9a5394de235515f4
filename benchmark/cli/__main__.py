"""`python -m benchmark.cli`: the command `backstop`, without its entry point."""

from benchmark.cli.app import main

main()
