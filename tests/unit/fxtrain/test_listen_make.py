"""From chains to a study: what is drawn, how it is matched, what may not be written over."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
import math
import wave
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import freqz

from fixtures.audio import RATE_HZ, riff
from fixtures.errors import one_line
from fixtures.studies import PEDALS, Bench, small_study
from fxtrain.contract import Chain, DamagedError, FormatVersionError, FxError, Pedal, UsageError
from fxtrain.contract.errors import ContractError, UnfinishedError
from fxtrain.listen import sound
from fxtrain.listen.build import Plan, Wet, check_free, match_levels
from fxtrain.listen.draw import doubtful_swaps, random_chains, worst_order
from fxtrain.listen.dries import PEAK_DBFS, Dries
from fxtrain.listen.items import by_name, read_items, swapped_pair
from fxtrain.listen.store import Store
from fxtrain.listen.study import (
    ANSWERS_NAME,
    DRY,
    LOW_ANCHOR,
    MID_ANCHOR,
    RANDOM_CHAIN,
    REFERENCE,
    STUDY_NAME,
    SWAPPED,
    WORST_ORDER,
    read_study,
)


def dries(bench: Bench, *files: Path, clip_s: float = 1.0) -> Dries:
    return Dries(bench, files, clip_s=clip_s, seed=0)


def samples(path: Path) -> np.ndarray:
    with wave.open(io.BytesIO(path.read_bytes()), "rb") as file:  # type: ignore[arg-type]
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE_HZ)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767


# ---- sounds --------------------------------------------------------------------------------


@pytest.mark.parametrize("edge_hz", [3500.0, 7000.0])
def test_anchors_are_flat_and_then_gone(edge_hz: float) -> None:
    """BS.1534 for 3.5 kHz: 0.1 dB up to the edge, 25 dB down at 4 kHz, 50 dB at 4.5 kHz."""
    impulse = np.zeros(4001, np.float32)
    impulse[2000] = 1
    f, h = freqz(sound.lowpass(impulse, RATE_HZ, edge_hz), worN=16_384, fs=RATE_HZ)
    level = 20 * np.log10(np.abs(h) + 1e-12)
    assert np.abs(level[f <= edge_hz]).max() < 0.1
    assert level[f >= edge_hz * 8 / 7].max() < -25
    assert level[f >= edge_hz * 9 / 7].max() < -50
    assert np.argmax(sound.lowpass(impulse, RATE_HZ, edge_hz)) == 2000


def test_true_peak_sees_between_the_samples() -> None:
    """A sine at a quarter of the rate, sampled 45 degrees off: 3 dB more than its samples."""
    n = np.arange(4000)
    sine = np.sin(np.pi / 2 * n + np.pi / 4)
    assert 20 * math.log10(np.abs(sine).max()) == pytest.approx(-3.01, abs=0.01)
    assert sound.true_peak_dbtp(sine) == pytest.approx(0.0, abs=0.15)


def test_the_loudest_part_is_taken() -> None:
    quiet = np.full(1000, 0.01, np.float32)
    quiet[600:700] = 0.5
    part = sound.loudest_part(quiet, 100)
    assert (part == 0.5).all()
    assert len(sound.loudest_part(part, 250)) == 250


def test_files_of_one_length_have_one_size() -> None:
    rng = np.random.default_rng(0)
    sizes = {len(sound.wav_bytes(w, RATE_HZ, rng)) for w in (riff(5000), np.zeros(5000))}
    assert len(sizes) == 1


# ---- items ---------------------------------------------------------------------------------


ITEMS = """
[[item]]
name = "drive before echo"
dry = "mine.npy"
reference = [{ pedal = "drive", gain_db = 20 }, "echo"]
[item.conditions]
swapped = ["echo", "drive"]

[[item]]
reference = ["dark", "shake"]
[item.conditions]
swapped = ["shake", { pedal = "dark", cutoff_hz = 900 }]
"""


def write_items(folder: Path, text: str) -> Path:
    np.save(folder / "mine.npy", riff(2 * RATE_HZ))
    path = folder / "items.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_items_are_read_from_a_file(tmp_path: Path) -> None:
    path = write_items(tmp_path, ITEMS)
    first, second = read_items(path, by_name(PEDALS), "abx", dries(Bench()))
    assert (first.name, first.dry.label) == ("drive before echo", "mine.npy")
    assert first.reference.pedals[0] == Pedal("drive", {"gain_db": 20.0})
    assert first.conditions[SWAPPED].pedals[1] == first.reference.pedals[0]
    assert first.pair == ("drive", "echo")
    assert second.dry.label.startswith("built-in guitar")
    assert second.conditions[SWAPPED].pedals[1].settings == {"cutoff_hz": 900.0}
    assert second.pair == ()  # a knob differs too
    as_json = tmp_path / "items.json"
    item = {"reference": ["drive", "echo"], "conditions": {"swapped": ["echo", "drive"]}}
    as_json.write_text(json.dumps({"item": [item]}), encoding="utf-8")
    (spec,) = read_items(as_json, by_name(PEDALS), "abx", dries(Bench()))
    assert spec.reference.pedals[0].settings == {"gain_db": 18.0}
    path.write_text(ITEMS, encoding="utf-8-sig")  # with a byte order mark, as on Windows
    assert len(read_items(path, by_name(PEDALS), "abx", dries(Bench()))) == 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"echo"]\n[item', '"eco"]\n[item', "item 1, reference: unknown pedal 'eco'.*'echo'"),
        ("gain_db = 20", "gain_db = 99", "gain_db is 99, expected 0 to 36 dB"),
        ("gain_db = 20", 'gain_db = "x"', "gain_db is 'x', expected 0 to 36 dB"),
        ("gain_db = 20", "gain = 20", "unknown knob 'gain'.*gain_db"),
        ("name =", "nme =", "unknown key 'nme'"),
        ("mine.npy", "gone.npy", "no such file"),
        ('swapped = ["echo", "drive"]', "", "0 conditions beside the reference"),
        ('name = "drive', "name = drive", "not readable as TOML or JSON"),
        ('reference = ["dark", "shake"]', "reference = 3", "item 2, reference: expected a list"),
    ],
)
def test_items_that_cannot_be_right(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = write_items(tmp_path, ITEMS.replace(old, new))
    with pytest.raises(FxError, match=said) as error:
        read_items(path, by_name(PEDALS), "abx", dries(Bench()))
    one_line(error)


def test_only_a_neighbour_swap_has_a_pair() -> None:
    a, b, c = (Pedal(name, {}) for name in "abc")
    assert swapped_pair(Chain((a, b, c)), Chain((a, c, b))) == ("b", "c")
    assert swapped_pair(Chain((a, b, c)), Chain((c, b, a))) == ()
    assert swapped_pair(Chain((a, b)), Chain((a,))) == ()


# ---- draws ---------------------------------------------------------------------------------


def test_swaps_are_spread_over_the_band_in_doubt() -> None:
    bench = Bench()
    chains = random_chains(PEDALS, np.random.default_rng(0))
    specs = doubtful_swaps(bench, dries(bench, clip_s=0.5).under(chains), 3, (0.25, 4.0))
    far = []
    for spec in specs:
        a, b = (
            bench.render(spec.dry.wave, RATE_HZ, chain)
            for chain in (spec.reference, spec.conditions[SWAPPED])
        )
        far.append(bench.distance_db(a, b, RATE_HZ))
        assert swapped_pair(spec.reference, spec.conditions[SWAPPED]) == spec.pair
    assert far == sorted(far)
    assert 0.25 <= far[0] < 1 < far[-1] <= 4
    few = list(itertools.islice(chains, 5))
    with pytest.raises(FxError, match=r"only \d of 20 swaps lie between 0\.25 and 4 dB.*--band"):
        doubtful_swaps(bench, dries(bench, clip_s=0.5).under(few), 20)
    with pytest.raises(UsageError, match="0 < low < high"):
        doubtful_swaps(bench, dries(bench).under(chains), 2, (4.0, 0.25))


def test_the_worst_order_is_the_furthest_of_all() -> None:
    bench = Bench()
    dry = dries(bench).take()
    chain = next(c for c in random_chains(PEDALS, np.random.default_rng(1)) if len(c.pedals) == 3)
    worst = worst_order(bench, dry, chain)
    assert sorted(worst.names) == sorted(chain.names)
    assert worst != chain
    with pytest.raises(UsageError, match="no other order"):
        worst_order(bench, dry, Chain(chain.pedals[:1]))


def test_dry_recordings_are_cut_levelled_and_of_one_rate(tmp_path: Path) -> None:
    np.save(tmp_path / "long.npy", 0.01 * riff(3 * RATE_HZ))
    dry = dries(Bench(), tmp_path / "long.npy").take()
    assert len(dry.wave) == RATE_HZ
    assert 20 * math.log10(np.abs(dry.wave).max()) == pytest.approx(PEAK_DBFS, abs=0.1)

    class Slow(Bench):
        def read(self, path: object) -> tuple[np.ndarray, int]:
            return riff(), 48_000

    shelf = dries(Slow())
    shelf.take()
    with pytest.raises(UsageError, match="48000 Hz, the recordings before it 44100"):
        shelf.read(Path("x.npy"))
    shelf = dries(Slow())
    mine = shelf.read(Path("x.npy"))
    assert shelf.take().label == mine.label  # the built-in guitar has another rate
    np.save(tmp_path / "silent.npy", np.zeros(RATE_HZ, np.float32))
    with pytest.raises(UsageError, match=r"silent\.npy: nothing sounds"):
        dries(Bench(), tmp_path / "silent.npy")


# ---- studies -------------------------------------------------------------------------------


def test_all_sounds_are_equally_loud_and_none_clips(tmp_path: Path) -> None:
    study = small_study(tmp_path, "mushra", n_items=3, trials=3, standard="bs1534")
    assert study.conditions == (
        REFERENCE, "predicted", DRY, WORST_ORDER, RANDOM_CHAIN, LOW_ANCHOR, MID_ANCHOR,
    )  # fmt: skip
    bench = Bench()
    loudness = {}
    for item in study.items:
        for name, sound_id in item.conditions.items():
            heard = samples(tmp_path / study.sounds[sound_id].file.path)
            assert len(heard) == study.n_samples
            assert sound.true_peak_dbtp(heard) <= sound.TRUE_PEAK_DBTP + 0.05
            loudness[item.name, name] = bench.loudness_lufs(heard, RATE_HZ)
    plain = [value for (_, name), value in loudness.items() if not name.startswith("low-pass")]
    assert max(plain) - min(plain) < 0.1
    for item in study.items:
        reference = study.sounds[item.conditions[REFERENCE]]
        assert study.sounds[item.conditions[LOW_ANCHOR]].gain_db == reference.gain_db


def test_a_quiet_sound_is_as_loud_as_the_others_once_it_is_turned_up() -> None:
    """The gate of BS.1770 leaves out a decay that counts once the sound stands at -23 LUFS."""

    class Gated(Bench):
        def loudness_lufs(self, wave: np.ndarray, sample_rate_hz: int) -> float:
            power = np.square(wave, dtype=np.float64).reshape(40, -1).mean(1)
            return float(10 * np.log10(power[power > 1e-7].mean()))

    bench = Gated()
    n = 4 * RATE_HZ
    noise = np.random.default_rng(0).normal(size=n).astype(np.float32)
    decay = (noise * 10 ** (np.linspace(0, -24, n) / 20)).astype(np.float32)
    wets = {
        name: Wet(wave * np.float32(gain), Chain(()), 0.0, name)
        for name, wave, gain in ((REFERENCE, noise, 0.1), ("quiet", decay, 0.001))
    }
    (matched,) = match_levels(bench, [wets], RATE_HZ)
    heard = [
        bench.loudness_lufs(wet.wave * np.float32(10 ** (matched[name][1] / 20)), RATE_HZ)
        for name, wet in wets.items()
    ]
    assert heard == pytest.approx([sound.TARGET_LUFS] * 2, abs=0.02)


def test_equal_seeds_give_equal_bytes_and_names_tell_nothing(tmp_path: Path) -> None:
    for name in ("one", "two"):
        small_study(tmp_path / name, "abx", n_items=1, catches=1)
    small_study(tmp_path / "other", "abx", n_items=1, catches=1, seed=1)
    one, two, other = (
        {p.name: p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in ("one", "two", "other")
    )
    assert one == two
    assert not set(one) & set(other) - {STUDY_NAME}
    assert not [name for name in one if "reference" in name or "swap" in name]
    study = read_study(tmp_path / "one")
    assert study == read_study(tmp_path / "two")
    assert study.identity != read_study(tmp_path / "other").identity
    assert [item.catch for item in study.items] == [False, True]


def test_a_silent_condition_is_named(tmp_path: Path) -> None:
    class Mute(Bench):
        def loudness_lufs(self, wave: np.ndarray, sample_rate_hz: int) -> float:
            return -math.inf

    bench = Mute()
    from fxtrain.listen.build import play
    from fxtrain.listen.items import ItemSpec

    spec = ItemSpec("clip 1", dries(bench).take(), Chain(()), {SWAPPED: Chain(())})
    with pytest.raises(FxError, match=r"item 'clip 1': condition 'reference'.*is silent"):
        play(bench, spec, Plan("abx"))


def test_answers_are_never_written_over(tmp_path: Path) -> None:
    study = small_study(tmp_path, "abx", n_items=1, catches=0)
    with pytest.raises(UsageError, match="a study is there already"):
        check_free(tmp_path, overwrite=False)
    store = Store(tmp_path / ANSWERS_NAME, study)
    check_free(tmp_path, overwrite=True)
    store = Store(tmp_path / ANSWERS_NAME, study)
    store.begin("headphones", "0")
    store.answer(0, 0, {"choice": "a"}, {}, 1, 1)
    with pytest.raises(UsageError, match="people have given 1 answers"):
        check_free(tmp_path, overwrite=True)


def test_nothing_of_others_is_removed(tmp_path: Path) -> None:
    (tmp_path / "sounds").mkdir()
    mine = tmp_path / "sounds" / "riff.wav"
    mine.write_bytes(b"mine")
    stale = tmp_path / "sounds" / ("0" * 16 + ".wav")
    stale.write_bytes(b"of a make that was interrupted")
    check_free(tmp_path, overwrite=False)
    small_study(tmp_path, "abx", n_items=1, catches=0)
    assert mine.exists()
    assert not stale.exists()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UsageError, match=r"holds 'thesis\.tex', so it is no study"):
        check_free(tmp_path, overwrite=True)
    with pytest.raises(UsageError, match="is a file, so it is no study"):
        check_free(mine, overwrite=True)


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("abx", {"standard": "bs1534"}, "a standard for --kind mushra"),
        ("mushra", {"clip_s": 30.0}, r"expected 0\.5 to 12 s"),
        ("taste", {}, "no test 'taste'"),
    ],
)
def test_plans_that_cannot_be_right(kind: str, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Plan(kind, **changes)  # type: ignore[arg-type]


def test_studies_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(UnfinishedError, match="fxtrain listen make"):
        read_study(tmp_path)
    study = small_study(tmp_path, "abx", n_items=1, catches=0)
    where = tmp_path / STUDY_NAME
    whole = where.read_text(encoding="utf-8")
    where.write_text(whole.replace('"format_version": 1', '"format_version": 9'), encoding="utf-8")
    with pytest.raises(FormatVersionError, match="format version 9, this build reads 1"):
        read_study(tmp_path)
    where.write_text('{"kind": "fxtrain-kit", "format_version": 1}', encoding="utf-8")
    with pytest.raises(ContractError, match=r"study\.json: is no listening test"):
        read_study(tmp_path)
    first = next(iter(study.sounds))
    where.write_text(whole.replace(first, "../../etc/passwd"), encoding="utf-8")
    with pytest.raises(ContractError):
        read_study(tmp_path)
    where.write_text(whole, encoding="utf-8")
    (tmp_path / study.sounds[first].file.path).write_bytes(b"RIFF")
    with pytest.raises(DamagedError, match="missing or of another size"):
        read_study(tmp_path)
    with pytest.raises(ContractError, match="asks nothing"):
        dataclasses.replace(study, items=())
