"""Command-line options that several commands share. Click only: help must answer at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]
MAX_SEED = 2**63 - 1
MAX_CHAINS = 10**9
"""Of one render: 176 TB. Beyond it a number is a slip."""
MAX_COUNTED = 10**6
"""Chains that a plan draws, a minute's work or two: a share of 1 % is known to 1 % of itself."""


def integer(value: Any) -> int:
    """Type of a seed: 0 to MAX_SEED, without the 19 digits that an IntRange puts into the help."""
    return int(click.IntRange(0, MAX_SEED).convert(value, None, None))


CHAIN_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option(
        "--pool", help="A pool's name or pedals separated by commas.  [default: stompbox]"
    ),
    click.option("--lengths", help="'1-5', '2,3', or weighted '1:1,2:3'.  [default: 1-5]"),
    click.option("--weights", help="Of pedals, 1 where not named: 'reverb:2,gate:0.2'."),
    click.option("--order", help="uniform, realistic or fixed.  [default: uniform]"),
    click.option("--temperature", type=float, help="Of 'realistic': 0.1 is strict.  [default: 1]"),
    click.option(
        "--repeats/--no-repeats", default=None, help="May a pedal stand twice?  [default: no]"
    ),
    click.option("--exclusive", multiple=True, help="At most one of 'chorus,phaser'; repeatable."),
    click.option(
        "--hold-out",
        "held_out",
        multiple=True,
        help="Order for the test split only, 'reverb,fuzz'; repeatable.",
    ),
    click.option(
        "--balance",
        help="What weights are: odds, or shares by pedals, lengths, pairs.  [default: weights]",
    ),
    click.option("--knobs", help="Settings: uniform, linear or typical.  [default: uniform]"),
    click.option("--makes", type=float, help="Share of pedals of another make.  [default: 0]"),
    click.option(
        "--range", "ranges", multiple=True, help="Of a setting, 'delay.mix:0.2..0.3'; repeatable."
    ),
    click.option(
        "--scale",
        "scales",
        multiple=True,
        help="How one setting is drawn, 'delay.mix:typical'; repeatable.",
    ),
    click.option(
        "--pedals",
        envvar="FXPIPE_PEDALS",
        type=click.Path(path_type=Path),
        help="TOML of VST3 pedals; they join the default pool.  [env: FXPIPE_PEDALS]",
    ),
    click.option("--config", type=click.Path(path_type=Path), help="TOML; flags go above it."),
)
"""What decides which chains are drawn; read by ``fxpipe.config.render_spec``."""

fractions_option = click.option(
    "--fractions", help="Of train,valid,test: '0,0,1'.  [default: 0.8,0.1,0.1]"
)

include_option = click.option(
    "--include",
    multiple=True,
    help="Optional part of a data set, such as 'acoustic' of idmt; repeatable.",
)

resume_option = click.option(
    "--resume",
    is_flag=True,
    help="Go on, and read every byte that is there: what is damaged is made again.",
)
"""Without it a command goes on too, but takes a file of the right length for whole."""


def chain_options(command: Command) -> Command:
    """Decorator: all of ``CHAIN_OPTIONS``, in this order."""
    for option in reversed(CHAIN_OPTIONS):
        command = option(command)
    return command


WHERE_OPTIONS: tuple[Callable[[Command], Command], ...] = (
    click.option(
        "-j",
        "--workers",
        type=click.IntRange(1),
        help="Processes; on a cluster at most these.  [default: all cores]",
    ),
    click.option("--scheduler", help="A running dask scheduler, tcp://HOST:8786."),
    click.option(
        "--cluster", type=click.Choice(["slurm", "k8s"]), help="Start workers there, with -j."
    ),
)
"""Where tasks run; read by ``fxpipe.tasks.choose_workers``."""


def where_options(command: Command) -> Command:
    """Decorator: all of ``WHERE_OPTIONS``, in this order."""
    for option in reversed(WHERE_OPTIONS):
        command = option(command)
    return command
