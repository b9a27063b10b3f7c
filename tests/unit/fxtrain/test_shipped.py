"""The model in the package: small, of this codec, and it hears what it says it hears."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fxpipe.chains.chain import ChainSpec, generator
from fxpipe.codec import CODECS
from fxpipe.codec.weights import find_weights
from fxpipe.pedals import POOLS
from fxpipe.render import After, RenderSpec, draw_and_render, finish
from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform
from fxtrain.checkpoint import load_run
from fxtrain.cli import cli, run_cli
from fxtrain.errors import CheckpointError
from fxtrain.finding import SHIPPED, model_folder


def test_it_answers_where_no_model_is_named(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert model_folder(None) == SHIPPED


def test_it_is_small_and_fits_the_codec_in_the_package() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 20_000_000
    run = load_run(SHIPPED)
    heard = run.card.hearing
    assert heard.codec.name == "embedded"
    weights = find_weights(CODECS["embedded"]).read_bytes()
    assert heard.codec.weights_sha256 == hashlib.sha256(weights).hexdigest()
    assert run.card.vocabulary.names == POOLS["stompbox"]
    assert run.card.shareable
    assert set(run.card.licences) == {"CC0-1.0", "MIT"}


def test_it_hears_pedals_of_the_built_in_guitar(tmp_path: Path, capsys) -> None:
    """Not its accuracy, which docs/results.md measures: that ears, codec and model fit together.

    By chance, one clip in ten would be right.
    """
    spec = RenderSpec(ChainSpec(("wah", "fuzz", "phaser", "tremolo"), {1: 1.0}))
    names: list[tuple[str, ...]] = []
    paths: list[str] = []
    for position in range(8):
        rng = generator(77, "test", position, "performance")
        dry = perform(rng, spec.n_run_in + spec.n_samples)[0]
        wet = draw_and_render(spec, dry, 1, 77, "test", position)
        assert wet is not None
        after = After(noise_snr_db=52.0, noise_cutoff_hz=5000.0, gain_db=0.0)
        path = tmp_path / f"{position}.wav"
        wave = finish(wet.wave, after, SAMPLE_RATE_HZ, generator(77, "test", position, "noise"))
        soundfile.write(path, wave / max(1.0, float(np.abs(wave).max())), SAMPLE_RATE_HZ, "FLOAT")
        names.append(wet.chain.names)
        paths.append(str(path))
    assert run_cli(cli, "fxtrain", ["predict", *paths, "--json", "--anyway"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    said = [tuple(pedal["name"] for pedal in answer["pedals"]) for answer in answers]
    assert sum(a == b for a, b in zip(said, names, strict=True)) >= 5, (said, names)


def test_a_part_of_it_that_is_missing_is_installed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be trained again, as a run of one's own can."""
    card = (SHIPPED / "model.json").read_bytes()
    for path in (tmp_path / "package", tmp_path / "own"):
        path.mkdir()
        (path / "model.json").write_bytes(card)
    monkeypatch.setattr("fxtrain.weights.SHIPPED", tmp_path / "package")
    again = "pip install --force-reinstall --no-deps ."
    with pytest.raises(CheckpointError, match=f"is missing; {re.escape(again)}"):
        load_run(tmp_path / "package")
    with pytest.raises(CheckpointError, match="train again or copy"):
        load_run(tmp_path / "own")
    for path in (tmp_path / "package", tmp_path / "own"):
        (path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match=f"another sha256 .* says; {re.escape(again)}"):
        load_run(tmp_path / "package")
    with pytest.raises(CheckpointError, match="not from one run"):
        load_run(tmp_path / "own")
