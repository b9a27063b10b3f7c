"""The guitar check: strangers made here are turned away, guitars through pedals are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import save_file

from fxpipe import renders as rd
from fxpipe.chains.chain import ChainSpec
from fxpipe.codec import load_codec
from fxpipe.ears import features, level
from fxpipe.errors import CodecError
from fxpipe.guitar import check as checking
from fxpipe.guitar import teach as teaching
from fxpipe.guitar.check import (
    PICTURE,
    RATE_HZ,
    TENSORS,
    WINDOW_S,
    describe,
    load_check,
    picture,
    pieces,
    strangeness,
)
from fxpipe.guitar.strangers import COUNTS, KINDS, stranger
from fxpipe.guitar.teach import muffled, save_check, teach
from fxpipe.mel import log_mel, mel_info
from fxpipe.pedals import POOLS
from fxpipe.render import RenderSpec, run_chain
from fxpipe.sources import open_source
from fxpipe.sources.synth import SAMPLE_RATE_HZ, perform
from fxtrain.contract import Chain, MelInfo, open_folder

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


def test_pictures_that_exist_are_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers, and none is made but where the window was cut."""
    note = np.concatenate([dry(2)[: RATE_HZ // 2], np.zeros(3 * RATE_HZ // 2, np.float32)])
    waves = [dry(1), note, dry(3)]
    codec = load_codec("embedded", n_threads=1)
    heard = features(waves, RATE_HZ, codec, mel_info(codec.info), PICTURE)
    assert heard.pictures is not None
    assert heard.mel is not None
    np.testing.assert_array_equal(heard.mel[0], log_mel_of(waves[0], mel_info(codec.info)))
    expected = strangeness(waves, RATE_HZ)
    made = []
    monkeypatch.setattr(
        checking, "picture", lambda wave, rate: made.append(1) or picture(wave, rate)
    )
    assert strangeness(waves, RATE_HZ, heard.pictures) == expected
    assert len(made) == 1


def log_mel_of(wave: np.ndarray, info: MelInfo) -> np.ndarray:
    return log_mel(level(wave, RATE_HZ, RATE_HZ)[0], RATE_HZ, info)


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


def render(path: Path, clip_s: float = WINDOW_S) -> str:
    """Ten clips of the built-in guitar, here and without dask."""
    spec = RenderSpec(ChainSpec(POOLS["okita3"], {1: 1.0}), clip_s=clip_s, run_in_s=0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rd, "run_tasks", lambda function, jobs, workers: map(function, jobs))
        plan = rd.make_plan(spec, open_source("synth"), 10, 0, progress=False)
        rd.render_all(open_folder(path), plan, None, lambda shard: None)
    return str(path)


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(tmp_path_factory.mktemp("taught") / "renders")


def test_the_check_is_taught_from_renders_and_recordings_by_one_command(
    renders: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "dry").mkdir()
    soundfile.write(tmp_path / "dry/lick.wav", dry(3), RATE_HZ)
    out = tmp_path / "check.safetensors"
    words = [renders, "--dry", str(tmp_path / "dry"), "-o", str(out), "--share", "0.004"]
    monkeypatch.setattr(teaching, "EPOCHS", 3)
    teaching.main(words)
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(" windows of guitar; making 14 of strangers")
    assert said[1].endswith("validation windows")
    pictures = np.stack([picture(dry(4), RATE_HZ)])
    assert np.isfinite(load_check(out).strangeness(pictures)).all()
    assert load_check(out).centre.shape == load_check().centre.shape


@pytest.mark.parametrize(
    ("clip_s", "dry_folder", "share", "code", "says"),
    [
        (0.5, None, "0.004", 2, "clips of 0.5 s, expected 2 s"),
        (2.0, "empty", "0.004", 1, "0 windows that sound in 0 recordings, expected 1"),
        (2.0, "silent", "0.004", 1, "0 windows that sound in 1 recordings, expected 1"),
        (None, None, "0.004", 1, "index.json"),
        (None, None, "0", 2, "--share 0: expected a share above 0"),
    ],
)
def test_what_it_cannot_be_taught_from_is_said_in_one_line(
    renders: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    clip_s: float | None,
    dry_folder: str | None,
    share: str,
    code: int,
    says: str,
) -> None:
    given = renders if clip_s else str(tmp_path / "none")
    if clip_s == 0.5:
        given = render(tmp_path / "renders", clip_s)
    words = [given, "--share", share, "-o", str(tmp_path / "out")]
    if dry_folder:
        (tmp_path / dry_folder).mkdir()
        words += ["--dry", str(tmp_path / dry_folder)]
    if dry_folder == "silent":
        soundfile.write(tmp_path / "silent/a.wav", np.zeros(RATE_HZ), RATE_HZ)
    with pytest.raises(SystemExit) as left:
        teaching.main(words)
    assert left.value.code == code
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
