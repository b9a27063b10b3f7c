"""``fxtrain export``: a board or a model as files. Parse, call, print; heavy imports inside."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def export() -> None:
    """A board as files for other programs, or a model as ONNX."""


@export.command()
@click.argument("chain", type=click.Path())
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="DIR")
def board(chain: str, output: Path) -> None:
    """Write the board of CHAIN, a chain.json, for other programs.

    Turn knobs, reorder or bypass pedals in a chain.json that `fxtrain predict --export` wrote, and
    export it again.
    """
    from fxtrain.contract import ContractError, UsageError, open_frontend
    from fxtrain.export.board import as_it_is_now, entries_of, read_board
    from fxtrain.export.files import check_free, export_files, write_files

    check_free(output)
    frontend = open_frontend()
    edited = as_it_is_now(read_board(chain), entries_of(frontend))
    try:
        files = export_files(edited, frontend)
    except (ContractError, UsageError) as error:
        raise type(error)(f"{chain}: {error}") from None
    write_files(output, files)
    click.echo(output)


@export.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="FILE")
@click.option("--overwrite", is_flag=True, help="Replace a file that is there.")
def onnx(run: Path, output: Path, overwrite: bool) -> None:
    """Write the model of RUN as one ONNX file, which onnxruntime runs by itself.

    Its metadata holds the pedals, the codec and the rules of decoding (docs/exports.md). "shipped"
    is the model in the package.
    """
    from fxtrain.checkpoint import load_run
    from fxtrain.contract import UsageError
    from fxtrain.export.onnx import export_onnx
    from fxtrain.finding import model_folder

    if output.exists() and not overwrite:
        raise UsageError(f"{output} is there already; give another name, or --overwrite")
    export_onnx(load_run(model_folder(run)), output)
    click.echo(output)
