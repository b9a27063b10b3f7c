"""``python -m fxpipe``."""

from fxpipe.cli import main

main()
