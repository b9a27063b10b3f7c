"""What a person sees: progress on stderr, one line an error, exit codes. Click and tqdm only."""

from __future__ import annotations

import io
import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fxtrain.contract import ShardEntry

INTERRUPTED = 130
LINE_EVERY_S = 10.0


def open_streams() -> None:
    """Where a daemon or a shell (``2>&-``) closed one, what would be written there is dropped.
    What stdout has no letter for, as an arrow in Latin-1, is written as \\u2192."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def run(group: click.Group, prog: str) -> int:
    """Run a click group: 0 done, 1 failed, 2 usage, 130 interrupted; errors are one line."""
    try:
        code = group.main(prog_name=prog, standalone_mode=False)
    except click.exceptions.Abort:
        click.echo(f"{prog}: interrupted", err=True)
        return INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        click.echo(f"{prog}: error: {' '.join(error.format_message().split())}", err=True)
        return error.exit_code
    except Exception as error:
        from fxtrain.contract import expected  # loads numpy, which --help can do without

        if (told := expected(error)) is None:
            raise
        message, code = told
        click.echo(f"{prog}: error: {message}", err=True)
        return code
    return code if isinstance(code, int) else 0


class Progress:
    """A bar on a terminal, a line every ten seconds elsewhere; counts clips as shards finish.

    What an earlier run finished is told to ``found``: it counts as done, not as done just now.
    """

    def __init__(self, total: int, label: str) -> None:
        self._total, self._label, self._done, self._found = total, label, 0, 0
        self._began = self._set_out = self._spoke = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=label, unit="clip", smoothing=0.1)

    def __enter__(self) -> Progress:
        return self

    def found(self, shard: ShardEntry) -> None:
        self._found += shard.n_samples
        self._done += shard.n_samples
        self._set_out = time.monotonic()
        if self._bar is not None:
            self._bar.initial += shard.n_samples
            self._bar.n += shard.n_samples
            self._bar.unpause()

    def shard(self, shard: ShardEntry) -> None:
        self.add(shard.n_samples)

    def add(self, n_clips: int = 1) -> None:
        self._done += n_clips
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(n_clips)
        elif now - self._spoke >= LINE_EVERY_S and self._done < self._total:
            rate = (self._done - self._found) / max(now - self._set_out, 1e-3)
            left_s = (self._total - self._done) / rate
            click.echo(
                f"{self._label}: {self._done}/{self._total} clips, {rate:.1f} clips/s, "
                f"{left_s:.0f} s left",
                err=True,
            )
            self._spoke = now

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        has_begun = error is None or self._done > 0
        if self._bar is not None:
            self._bar.leave = has_begun
            self._bar.close()
        if not has_begun:
            return  # the error says all there is to say
        seconds = time.monotonic() - self._began
        state = "finished" if error is None else "stopped"
        click.echo(
            f"{self._label}: {state} at {self._done}/{self._total} clips after {seconds:.1f} s"
            + (f", {self._found} of them were there" if self._found else ""),
            err=True,
        )


def table(header: list[str], rows: list[list[str]], *, left: bool = False) -> str:
    """Columns padded to their widest cell; the first is left-aligned, and the others where
    ``left``, else right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        padded = (
            cell.ljust(width) if left or i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    return "\n".join(map(line, [header, *rows]))
