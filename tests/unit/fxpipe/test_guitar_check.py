"""The guitar check: strangers made here are turned away, guitars through pedals are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from fxpipe.errors import CodecError
from fxpipe.guitar.check import (
    PICTURE,
    RATE_HZ,
    TENSORS,
    describe,
    load_check,
    picture,
    pieces,
    strangeness,
)
from fxpipe.guitar.strangers import COUNTS, KINDS, stranger
from fxpipe.guitar.teach import muffled, save_check, teach
from fxpipe.render import run_chain
from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform
from fxtrain.contract import Chain

N = 2 * RATE_HZ
PLAIN = ("noise", "tones", "clicks", "speech", "singing", "drums")


def strange(waves: list[np.ndarray]) -> np.ndarray:
    return np.array(strangeness(waves, RATE_HZ)) > 0


def dry(seed: int) -> np.ndarray:
    assert SAMPLE_RATE_HZ == RATE_HZ
    return np.asarray(perform(np.random.default_rng(seed), N)[0], np.float32)


@pytest.mark.parametrize("kind", PLAIN)
def test_strangers_are_turned_away(kind: str) -> None:
    clips = [stranger(kind, np.random.default_rng([5, i]), N) for i in range(6)]
    assert strange(clips).sum() >= 5


def test_a_mix_of_instruments_is_turned_away_more_often_than_not() -> None:
    clips = [stranger("mix", np.random.default_rng([5, i]), N) for i in range(6)]
    assert strange(clips).sum() >= 4


def test_guitars_are_not_dry_or_wet() -> None:
    from fxpipe.pedals import PEDALS

    names = ("compressor", "overdrive", "distortion", "chorus", "phaser", "delay", "reverb")
    chains = [Chain((PEDALS[name].example(name),)) for name in names]
    waves = [dry(i) for i in range(len(names))]
    wet = [run_chain(w, chain, RATE_HZ)[0] for w, chain in zip(waves, chains, strict=True)]
    assert strange(waves + wet).sum() <= 1


def test_strangers_are_the_same_every_time_finite_and_not_silent() -> None:
    assert tuple(COUNTS) == tuple(KINDS)
    for kind in KINDS:
        one, again = (stranger(kind, np.random.default_rng(3), N // 4) for _ in range(2))
        assert np.array_equal(one, again)
        assert one.dtype == np.float32
        assert np.isfinite(one).all()
        assert one.any()


def test_level_and_rate_do_not_matter_much() -> None:
    import soxr

    wave = dry(1)
    loud, quiet = (np.array(strangeness([gain * wave], RATE_HZ)) for gain in (1.0, 0.05))
    assert loud == pytest.approx(quiet, abs=0.2)
    other = soxr.resample(wave, RATE_HZ, 48_000)
    assert np.array(strangeness([other], 48_000)) == pytest.approx(loud, abs=1.0)


def test_windows_of_other_lengths_are_heard_in_stretches() -> None:
    assert [len(piece) for piece in pieces(np.ones(250), 100)] == [200, 200]
    assert [len(piece) for piece in pieces(np.ones(400), 100)] == [200, 200]
    assert [len(piece) for piece in pieces(np.ones(50), 100)] == [50]
    padded = np.concatenate([np.ones(50), np.zeros(150)])
    assert [len(piece) for piece in pieces(padded, 100)] == [50]
    assert [len(piece) for piece in pieces(np.zeros(200), 100)] == [30]
    whole = np.concatenate([dry(1), dry(2)])
    assert strangeness([whole, whole[:N]], RATE_HZ) == pytest.approx(
        (
            np.mean(strangeness([whole[:N], whole[N:]], RATE_HZ)),
            strangeness([whole[:N]], RATE_HZ)[0],
        ),
        abs=1e-4,
    )


def test_silence_behind_a_short_note_changes_nothing() -> None:
    note = dry(2)[: RATE_HZ // 2]
    behind = np.concatenate([note, np.zeros(RATE_HZ, np.float32)])
    alone, padded = strangeness([note, behind], RATE_HZ)
    assert alone == pytest.approx(padded, abs=0.3)
    assert alone <= 0


def test_features_of_silence_are_finite() -> None:
    silent = np.zeros((1, PICTURE.n_mels, 173), np.uint8)
    assert np.isfinite(describe(silent)).all()
    assert np.isfinite(load_check().strangeness(silent)).all()


def test_teaching_learns_to_tell_two_sounds_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    hum = [np.sin(np.arange(N) * rng.uniform(0.01, 0.1)) for _ in range(30)]
    hiss = [rng.standard_normal(N) for _ in range(30)]
    low, high = (
        np.stack([picture(w.astype(np.float32), RATE_HZ) for w in part]) for part in (hum, hiss)
    )
    check = teach(low[:20], high[:20], low[20:])
    assert (check.strangeness(high[20:]) > 0).all()
    assert (check.strangeness(low[20:]) > 0).sum() <= 1
    save_check(tmp_path / "check.safetensors", check)
    again = load_check(tmp_path / "check.safetensors")
    assert np.array_equal(again.strangeness(high), check.strangeness(high))


def test_muffling_takes_the_top_away_from_some() -> None:
    pictures = np.full((40, PICTURE.n_mels, 9), 100, np.uint8)
    tops = (muffled(pictures, np.random.default_rng(0))[:, :, 0] > 0).sum(1)
    assert tops.min() >= 28
    assert 10 < (tops == PICTURE.n_mels).sum() < 30


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "check.safetensors"
    save_file(
        {name: np.zeros(1, np.float32) for name in TENSORS}, path, metadata={"format_version": "9"}
    )
    with pytest.raises(CodecError, match="found version 9, this build reads 1"):
        load_check(path)
    (tmp_path / "junk").write_bytes(b"junk")
    with pytest.raises(CodecError, match="junk: the guitar check cannot be read"):
        load_check(tmp_path / "junk")
