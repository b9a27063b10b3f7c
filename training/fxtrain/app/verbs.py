"""``fxtrain serve``. Parse, call, print; heavy imports inside."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    help="Run directory [the model that came with it, or the newest in runs/].",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option(
    "--max-mb", type=click.IntRange(1), default=50, show_default=True, help="Of a file, at most."
)
@click.option(
    "--max-s",
    type=click.IntRange(3),
    default=120,
    show_default=True,
    help="Seconds of a clip, at most.",
)
def serve(run: Path | None, host: str, port: int, device: str, max_mb: int, max_s: int) -> None:
    """Open the guitarist's page on this machine: drop a clip, see its board, hear it.

    Nothing leaves the machine, and nothing is kept when it ends (Ctrl-C).
    """
    from fxtrain.calm import share_the_cores

    share_the_cores()

    from fxtrain.app.ears import Ears, open_ears
    from fxtrain.app.limits import Limits
    from fxtrain.app.server import page_app
    from fxtrain.app.work import Work
    from fxtrain.contract import find_frontend
    from fxtrain.device import check_device
    from fxtrain.finding import model_folder
    from fxtrain.web.server import bind, hosts_of, is_loopback, run_app, url_of

    check_device(device)
    folder = model_folder(run)
    find_frontend()  # missing, it is said before there is a page
    listener = bind(host, port)
    click.echo(f"{url_of(listener)}  (Ctrl-C ends it; model: {folder})", err=True)
    if not is_loopback(host):
        click.echo(f"warning: everyone who reaches {host} can use this page", err=True)

    def load() -> Ears:
        try:
            return open_ears(folder, device)
        except Exception as error:
            click.echo(f"fxtrain: error: {error}", err=True)  # the page says it too
            raise

    work = Work(load)
    try:
        run_app(page_app(work, Limits(max_mb * 2**20, max_s), hosts_of(host)), listener)
    finally:
        if not work.close():
            os._exit(0)  # a model half loaded holds nothing to lose, and cannot be interrupted
