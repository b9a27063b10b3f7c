"""``python -m fxtrain``."""

from fxtrain.cli import main

main()
