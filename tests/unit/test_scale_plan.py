"""What the benchmarks ask of `fxtrain fit` and `fxpipe render` is what these take."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from fxpipe.cli import cli
from fxtrain.config import load_config

sys.path.append(str(Path(__file__).parents[1] / "bench"))

from at_scale import fixed_knobs
from scale_plan import (
    MORE_SEEDS,
    VARIANTS,
    more_of,
    more_presence,
    named_parts,
    named_runs,
    parts,
    runs,
    settings_of,
    short_okita3,
    variants,
)

BEST = VARIANTS["picture-masked"]


GOING_ON = (
    short_okita3(24_000, 2),
    *(more_of(pool, 80_000) for pool in MORE_SEEDS),
    more_presence(24_000, 2),
    more_presence(24_000, 2, others=True),
)
ROUNDS = [run for found, _ in GOING_ON for run in found]
ROUND_PARTS = [part for _, made in GOING_ON for part in made]
RUNS = [*variants(), *runs(BEST), *ROUNDS]
PARTS = [*parts()[:12], *named_parts(), *ROUND_PARTS, *parts()[-2:]]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_fit_takes_the_settings_of_every_run(tmp_path: Path, run) -> None:
    path = tmp_path / "fit.toml"
    start_from = "runs/before" if run.after or run in ROUNDS else None
    path.write_text(settings_of(run, start_from))
    config = load_config(path, {})
    assert config.train.max_epochs == run.train["max_epochs"]
    assert config.train.start_from == start_from
    assert start_from or config.model.d_model == run.model["d_model"]


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("notes")
    for pitch_hz in range(100, 700, 10):  # 4 % of them, for validation, are two and more
        wave = 0.3 * np.sin(2 * np.pi * pitch_hz * np.arange(22_050) / 44_100)
        soundfile.write(folder / f"{pitch_hz}.wav", wave, 44_100)
    return folder


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_render_takes_the_flags_of_every_part(tmp_path: Path, notes: Path, part) -> None:
    (tmp_path / "okita3").write_text("[render]\npedal_rms = 0.1\n")
    (tmp_path / "presence").write_text(fixed_knobs())
    paths = {name: tmp_path / name for name in ("okita3", "presence")}
    flags = part.flags.format(audio=notes, real=notes, others=notes, **paths)
    line = f"render {flags} --n-chains {part.n_chains} --dry-run -o {tmp_path}"
    done = CliRunner().invoke(cli, line.split())
    assert done.exit_code == 0, done.output
    assert f"would render {part.n_chains} chains of " in done.output


def test_no_two_runs_share_a_folder() -> None:
    """What is there already is used again, so it has to be the run of that name."""
    folders = [run.name for run in [*named_runs(BEST), *ROUNDS]]
    assert len(folders) == len({*folders})


def test_every_named_run_has_its_chains() -> None:
    made = {part.name for part in [*named_parts(), *ROUND_PARTS]}
    for run in [*named_runs(BEST), *ROUNDS]:
        assert {*run.parts, *(part for _, part, _ in run.tests)} <= made
