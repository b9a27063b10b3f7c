"""Commands of both programs, one after another, as a user would type them in a folder."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import click

from fxtrain.contract import FxError, UsageError


def run_step(line: str, cwd: Path, again: str, *, quiet: bool = False) -> str:
    """Run ``line`` in ``cwd`` and return what it puts on stdout, which is shown unless ``quiet``.

    FxError where it fails, with ``again``: what to type to go on. UsageError where it refuses, for
    then the same would be refused again.
    """
    # As a module: where scripts lie differs (pip install --user). -P: nothing out of ``cwd``.
    typed = [sys.executable, "-P", "-m", *shlex.split(line)]
    done = subprocess.run(typed, cwd=cwd, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == UsageError.exit_code:
        raise UsageError(f"'{line}' refused to begin; the line above says why")
    if done.returncode:
        raise FxError(
            f"'{line}' ended with exit code {done.returncode}; what is finished is kept: go on "
            f"with '{again}'"
        )
    if not quiet:
        click.echo(done.stdout.rstrip())
    return done.stdout


def with_overwrite(line: str, run: Path, *, overwrite: bool) -> str:
    """``line`` as it is typed again: a run is always learnt anew, data sets where that is asked."""
    anew = line.startswith("fxtrain fit") and run.exists()
    if anew or (overwrite and line.startswith(("fxpipe render", "fxpipe encode"))):
        line += " --overwrite"
    return line
