"""The embedded guitar: bytes, shapes, what sounds, and the physics of one note."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import bilinear, freqz, lfilter

from fxpipe.sources.gestures import Hand, choked
from fxpipe.sources.guitars import GUITARS
from fxpipe.sources.ring import ring, sound
from fxpipe.sources.score import STYLES
from fxpipe.sources.strings import Note, Partials, Rig, note_hz, partials, pickup_filter
from fxpipe.sources.synth import SAMPLE_RATE_HZ, Performance, perform

TWO_SECONDS = 2 * SAMPLE_RATE_HZ
FRAME = 441

DIGEST_CODE = """
import hashlib, numpy as np
from fxpipe.sources.synth import perform
digest = hashlib.sha256()
for seed in range(12):
    digest.update(perform(np.random.default_rng(seed), 88_200)[0].tobytes())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def clips() -> list[tuple[npt.NDArray[np.float32], Performance]]:
    return [perform(np.random.default_rng([17, seed]), TWO_SECONDS) for seed in range(300)]


def rig(guitar: str = "double_cut_sss", pickup: str = "middle", **changes: object) -> Rig:
    instrument = GUITARS[guitar]
    setup = Rig(
        guitar=instrument,
        pickup=instrument.pickups[pickup],
        cents=(0.0,) * 6,
        wear=1.0,
        pick_hz=6000.0,
        pick_noise=0.05,
        tone=1.0,
        cable_f=600e-12,
    )
    return replace(setup, **changes)


def note(**changes: object) -> Note:
    return replace(Note(1, 0, 0.0, 10.0, 0.7, 80.0), **changes)


def frame_db(audio: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    frames = audio[: audio.size // FRAME * FRAME].astype(np.float64).reshape(-1, FRAME)
    return 10.0 * np.log10(np.mean(frames**2, axis=1) + 1e-20)


def spectrum_peak_hz(audio: npt.NDArray[np.floating], low_hz: float, high_hz: float) -> float:
    n_fft = 2**19
    power = np.abs(np.fft.rfft(audio * np.hanning(audio.size), n_fft))
    freqs_hz = np.fft.rfftfreq(n_fft, 1.0 / SAMPLE_RATE_HZ)
    band = (freqs_hz > low_hz) & (freqs_hz < high_hz)
    return float(freqs_hz[band][np.argmax(power[band])])


def summed(
    voices: Partials,
    row: int,
    times_s: npt.NDArray[np.float64],
    ahead_s: npt.NDArray[np.float64] | float = 0.0,
) -> npt.NDArray[np.float64]:
    """One note, partial by partial; ``ahead_s`` is how far its phases are ahead of time."""
    freqs_hz, rates_hz = voices.freqs_hz[row][:, None], voices.rates_hz[row][:, None]
    turns = 2j * np.pi * freqs_hz * (times_s + ahead_s) - rates_hz * times_s
    return (voices.amps[row][:, None] * np.exp(turns)).real.sum(axis=0)


def test_same_seed_gives_same_bytes_in_other_processes_and_with_more_threads() -> None:
    digest = hashlib.sha256()
    for seed in range(12):
        digest.update(perform(np.random.default_rng(seed), 88_200)[0].tobytes())
    path = os.pathsep.join(entry for entry in sys.path if entry)
    others = []
    for threads in ("1", "2"):
        limits = {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        others.append(
            subprocess.Popen(
                [sys.executable, "-c", DIGEST_CODE],
                env={**os.environ, **limits, "PYTHONPATH": path},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    for other in others:
        assert other.communicate()[0].strip() == digest.hexdigest()


def test_other_seeds_give_other_clips(clips: list) -> None:
    assert len({audio.tobytes() for audio, _ in clips}) == len(clips)


def test_clips_are_finite_float32_on_a_24_bit_grid(clips: list) -> None:
    for audio, performance in clips:
        assert audio.dtype == np.float32
        assert audio.shape == (TWO_SECONDS,)
        assert np.isfinite(audio).all()
        assert np.array_equal(audio * 2.0**23, np.rint(audio * 2.0**23))
        peak_dbfs = 20.0 * np.log10(np.abs(audio).max())
        assert -20.0 < peak_dbfs < -3.0
        assert peak_dbfs == pytest.approx(performance.peak_dbfs, abs=0.2)


def test_at_least_half_of_a_clip_sounds(clips: list) -> None:
    for audio, _ in clips:
        levels_db = frame_db(audio)
        assert np.mean(levels_db > max(-60.0, levels_db.max() - 45.0)) > 0.5


def test_clips_open_ringing_or_just_before_the_first_note(clips: list) -> None:
    opening_db = {True: [], False: []}
    for audio, performance in clips:
        opening_db[performance.starts_ringing].append(frame_db(audio[:FRAME])[0])
    assert 0.25 < len(opening_db[True]) / len(clips) < 0.75
    assert np.median(opening_db[True]) > -45.0
    assert np.median(opening_db[False]) < -55.0


def test_all_styles_and_guitars_occur_and_are_recorded(clips: list) -> None:
    styles = Counter(performance.style for _, performance in clips)
    assert set(styles) == set(STYLES)
    assert {performance.guitar for _, performance in clips} == set(GUITARS)
    assert any(performance.palm_mute_share > 0.2 for _, performance in clips)
    assert {performance.hum_hz for _, performance in clips} == {0, 50, 60}
    for _, performance in clips:
        assert performance.pickup in GUITARS[performance.guitar].pickups
        assert 60.0 < performance.tempo_bpm < 170.0
        assert json.loads(json.dumps(asdict(performance))) == asdict(performance)


def test_clips_differ_in_brightness_and_level(clips: list) -> None:
    centroids_hz, levels_db = [], []
    freqs_hz = np.fft.rfftfreq(TWO_SECONDS, 1.0 / SAMPLE_RATE_HZ)
    for audio, _ in clips[:120]:
        power = np.abs(np.fft.rfft(audio)) ** 2
        centroids_hz.append(float(np.sum(power * freqs_hz) / np.sum(power)))
        levels_db.append(float(10.0 * np.log10(np.mean(audio.astype(np.float64) ** 2))))
    low_hz, high_hz = np.percentile(centroids_hz, (10, 90))
    assert low_hz < 300.0
    assert high_hz > 550.0
    assert np.ptp(np.percentile(levels_db, (10, 90))) > 8.0


@pytest.mark.parametrize("n_samples", [1, 700, SAMPLE_RATE_HZ // 2, 10 * SAMPLE_RATE_HZ])
def test_any_length_can_be_played(n_samples: int) -> None:
    for seed in range(6):
        audio, _ = perform(np.random.default_rng(seed), n_samples)
        assert audio.shape == (n_samples,)
        assert np.isfinite(audio).all()
        assert np.abs(audio).max() > 0.0
    if n_samples > 20_000:
        levels_db = frame_db(audio)
        assert np.mean(levels_db > levels_db.max() - 45.0) > 0.5


def test_a_clip_of_no_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="0 samples"):
        perform(np.random.default_rng(0), 0)


@pytest.mark.parametrize("guitar", sorted(GUITARS))
@pytest.mark.parametrize("string", [0, 3, 5])
def test_an_open_string_sounds_at_its_pitch(guitar: str, string: int) -> None:
    instrument = GUITARS[guitar]
    setup = rig(guitar, next(iter(instrument.pickups)))
    played = note(string=string)
    wanted_hz = 440.0 * 2.0 ** ((instrument.open_midi[string] - 69) / 12.0)
    assert note_hz(setup, played) == pytest.approx(wanted_hz)
    audio = sound(np.random.default_rng(1), setup, [played], TWO_SECONDS)
    found_hz = spectrum_peak_hz(audio, 0.8 * wanted_hz, 1.2 * wanted_hz)
    assert 1200.0 * abs(np.log2(found_hz / wanted_hz)) < 5.0  # cents


def test_partials_are_stretched_as_a_stiff_string_stretches_them() -> None:
    setup, played = rig(), note(string=0)
    freqs_hz = partials(np.random.default_rng(1), setup, [played]).freqs_hz
    stretch = freqs_hz[0, :30] / (np.arange(1, 31) * note_hz(setup, played))
    stiffness = stretch**2 - 1.0
    assert np.all(np.diff(stretch) > 0.0)
    assert np.allclose(stiffness / np.arange(1, 31) ** 2, stiffness[0], rtol=1e-6)
    assert 2e-5 < stiffness[0] < 3e-4  # a wound low E


def test_picking_in_the_middle_of_the_string_removes_even_partials() -> None:
    setup = rig()
    played = note(pick_mm=setup.guitar.scale_mm / 2.0)
    levels = np.abs(partials(np.random.default_rng(1), setup, [played]).amps[0, :10])
    assert levels[1::2].max() < 1e-6 * levels.max()


def test_a_coil_does_not_hear_the_partial_with_a_node_over_it() -> None:
    setup = rig()
    quarter = replace(setup.pickup, coils_mm=(setup.guitar.scale_mm / 4.0,), slant_mm=0.0)
    setup = replace(setup, pickup=quarter)
    levels = np.abs(partials(np.random.default_rng(1), setup, [note()]).amps[0, :8])
    assert max(levels[3], levels[7]) < 1e-6 * levels.max()


@pytest.mark.parametrize("change", [{"fill": 0.2}, {"pull_per_mm": 0.3}], ids=["fill", "pull"])
def test_a_real_pick_and_magnet_leave_no_node_empty(change: dict) -> None:
    setup = rig(**change)
    played = note(pick_mm=setup.guitar.scale_mm / 2.0)
    levels = np.abs(partials(np.random.default_rng(1), setup, [played]).amps[0, :10])
    assert 1e-3 < levels[1::2].max() / levels.max() < 0.5


def test_no_step_opens_a_note() -> None:
    setup = rig(fill=0.2, pull_per_mm=0.3)
    played = [note(string=s, pick_mm=place) for s in range(6) for place in (30.0, 120.0, 300.0)]
    voices = partials(np.random.default_rng(1), setup, played)
    for audio in ring(voices, [(0, 2000)] * len(played)):
        assert abs(audio[0]) < 0.05 * np.abs(audio).max()


def test_the_magnet_bends_the_sound_of_hard_strokes_more() -> None:
    even = []
    for velocity in (0.3, 0.9):
        played = note(pick_mm=GUITARS["double_cut_sss"].scale_mm / 2.0, velocity=velocity)
        setup = rig(pull_per_mm=0.3)
        levels = np.abs(partials(np.random.default_rng(1), setup, [played]).amps[0, :10])
        even.append(levels[1] / levels[0])
    assert even[1] > 4.0 * even[0]


def test_ring_is_the_sum_of_its_partials() -> None:
    played = [note(), note(string=4, fret=7), note(string=0, faint_db=6.0)]
    voices = partials(np.random.default_rng(3), rig(), played)
    voices = replace(voices, glide=np.zeros(3))
    spans = [(0, 9000), (5003, 21_000), (0, 50_000)]
    for row, audio in enumerate(ring(voices, spans)):
        wanted = summed(voices, row, np.arange(*spans[row]) / SAMPLE_RATE_HZ)
        assert audio.shape == wanted.shape
        assert np.abs(audio - wanted).max() < 2e-3 * np.abs(wanted).max()


def test_ring_glides_in_steps_and_opens_at_any_of_them() -> None:
    voices = partials(np.random.default_rng(3), rig(), [note(string=0)])
    glide, settle_s = 0.006, 0.4
    voices = replace(voices, glide=np.array([glide]), settle_s=np.array([settle_s]))
    edges_s = np.arange(30) * 4096 / SAMPLE_RATE_HZ
    gained_s = glide * settle_s * (1.0 - np.exp(-edges_s / settle_s))
    (whole,) = (audio.copy() for audio in ring(voices, [(0, 30_000)]))
    times_s = np.arange(30_000) / SAMPLE_RATE_HZ
    ahead_s = np.interp(times_s, edges_s[:7], gained_s[:7])  # then it has settled
    wanted = summed(voices, 0, times_s, ahead_s)
    assert np.abs(whole - wanted).max() < 0.02 * np.abs(wanted).max()
    (rest,) = ring(voices, [(8192, 30_000)])
    assert np.abs(whole[8192:] - rest).max() < 2e-3 * np.abs(whole).max()


def test_a_hard_stroke_starts_sharp_and_a_soft_one_does_not() -> None:
    sharp_cents = []
    for velocity in (0.95, 0.3):
        setup, played = rig(), note(string=0, velocity=velocity)
        audio = sound(np.random.default_rng(1), setup, [played], TWO_SECONDS)
        f0_hz = note_hz(setup, played)
        early = spectrum_peak_hz(audio[1000:8000], 0.95 * f0_hz, 1.05 * f0_hz)
        late = spectrum_peak_hz(audio[60_000:], 0.95 * f0_hz, 1.05 * f0_hz)
        sharp_cents.append(1200.0 * np.log2(early / late))
    assert 4.0 < sharp_cents[0] < 25.0
    assert abs(sharp_cents[1]) < 2.0


@pytest.mark.parametrize("touch", [{}, {"bend": ((0.1, 0.0), (0.3, 2.0))}], ids=["plain", "bent"])
def test_a_clip_that_opens_later_holds_the_same_sound(touch: dict) -> None:
    played = note(end_s=0.8, **touch)
    late = 12_345 / SAMPLE_RATE_HZ
    whole = sound(np.random.default_rng(5), rig(), [played], 60_000)
    cut = replace(played, onset_s=played.onset_s - late, end_s=played.end_s - late)
    rest = sound(np.random.default_rng(5), rig(), [cut], 60_000 - 12_345)
    assert np.abs(whole[12_345:] - rest).max() < 2e-3 * np.abs(whole).max()


def test_a_bend_raises_the_pitch_by_its_semitones() -> None:
    setup = rig()
    played = note(string=4, fret=8, bend=((0.05, 0.0), (0.2, 2.0)))
    audio = sound(np.random.default_rng(2), setup, [played], TWO_SECONDS)
    wanted_hz = note_hz(setup, played) * 2.0 ** (2.0 / 12.0)
    found_hz = spectrum_peak_hz(audio[SAMPLE_RATE_HZ // 2 :], 0.9 * wanted_hz, 1.1 * wanted_hz)
    assert 1200.0 * abs(np.log2(found_hz / wanted_hz)) < 5.0


def test_a_palm_mute_decays_faster_and_darker() -> None:
    heard = {}
    for mute in (0.0, 0.35):
        audio = sound(np.random.default_rng(2), rig(), [note(mute=mute)], SAMPLE_RATE_HZ)
        levels_db = frame_db(audio)
        heard[mute] = levels_db[1:5].mean() - levels_db[45:50].mean()
    assert heard[0.0] < 20.0
    assert heard[0.35] > heard[0.0] + 15.0


def test_high_partials_die_first() -> None:
    played = [note(string=s) for s in range(6)]
    rates_hz = partials(np.random.default_rng(4), rig(), played).rates_hz
    assert np.all(rates_hz[:, 12:20].mean(axis=1) > 3.0 * rates_hz[:, :3].mean(axis=1))


def test_a_harder_stroke_is_louder_and_brighter() -> None:
    levels = []
    for velocity in (0.2, 0.9):
        voices = partials(np.random.default_rng(6), rig(), [note(velocity=velocity)])
        levels.append(np.abs(voices.amps[0, :40]))
    soft, hard = levels
    assert hard[0] > 4.0 * soft[0]
    assert hard[20:30].sum() / hard[0] > 1.3 * soft[20:30].sum() / soft[0]


def test_a_lifted_finger_ends_the_note() -> None:
    audio = sound(np.random.default_rng(2), rig(), [note(end_s=0.5)], SAMPLE_RATE_HZ)
    assert np.abs(audio[int(0.75 * SAMPLE_RATE_HZ) :]).max() < 1e-2 * np.abs(audio).max()


@pytest.mark.parametrize("guitar", sorted(GUITARS))
def test_pickups_resonate_between_2_and_5_khz_and_the_tone_knob_darkens(guitar: str) -> None:
    for pickup in GUITARS[guitar].pickups:
        curves = []
        for tone in (1.0, 0.0):
            b, a = pickup_filter(rig(guitar, pickup, tone=tone))
            assert np.abs(np.roots(a)).max() < 1.0
            freqs_hz, response = freqz(b, a, 4096, fs=SAMPLE_RATE_HZ)
            curves.append(np.abs(response))
        assert curves[0][0] == pytest.approx(1.0)
        assert 2000.0 < freqs_hz[np.argmax(curves[0])] < 5000.0
        assert 1.2 < curves[0].max() < 4.0
        at_3_khz = int(np.searchsorted(freqs_hz, 3000.0))
        assert curves[1][at_3_khz] < 0.2 * curves[0][at_3_khz]


def test_the_volume_knob_takes_treble_with_it() -> None:
    at_4_khz = []
    for volume in (1.0, 0.7, 0.4):
        b, a = pickup_filter(rig(volume=volume))
        assert np.abs(np.roots(a)).max() < 1.0
        _, response = freqz(b, a, [1.0, 4000.0], fs=SAMPLE_RATE_HZ)
        assert abs(response[0]) == pytest.approx(1.0, abs=1e-3)
        at_4_khz.append(abs(response[1]))
    assert at_4_khz[0] > 1.4 * at_4_khz[1]


def test_the_pickup_filter_is_the_bilinear_image_of_its_circuit() -> None:
    setup = rig(tone=0.6)
    coil, guitar = setup.pickup, setup.guitar
    b, a = pickup_filter(setup)
    assert a.size == 4
    load_s = 1.0 / guitar.pot_ohm + 1e-6 + 1.0 / 600e3
    tone_ohm = 2e3 + guitar.pot_ohm * 0.36
    branch = np.array([tone_ohm * guitar.tone_cap_f, 1.0])
    admittance = np.polyadd(
        np.polymul([coil.capacitance_f + setup.cable_f, load_s], branch), [guitar.tone_cap_f, 0.0]
    )
    circuit = np.polyadd(branch, np.polymul([coil.inductance_h, coil.resistance_ohm], admittance))
    wanted_b, wanted_a = bilinear(branch, circuit, SAMPLE_RATE_HZ)
    click = np.zeros(4000)
    click[0] = 1.0
    wanted = lfilter(wanted_b, wanted_a, click)
    assert np.allclose(lfilter(b, a, click), wanted / wanted.sum(), atol=1e-9)


@pytest.mark.parametrize("style", sorted(STYLES))
def test_scores_can_be_fingered_on_every_guitar(style: str) -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        for guitar in GUITARS.values():
            hand = Hand(guitar.open_midi, 0.5, 3.0, 0.6, 80.0, 0.3, 0.006)
            notes = choked(STYLES[style][1](rng, hand))
            assert notes
            for played in notes:
                assert 0 <= played.string < 6
                assert 0 <= played.fret < 22
                assert 0.0 <= played.onset_s < played.end_s
                assert 0.0 < played.velocity <= 1.0
            for earlier, later in pairwise(notes):
                assert earlier.onset_s <= later.onset_s
            for string in range(6):
                own = [played for played in notes if played.string == string]
                for earlier, later in pairwise(own):
                    assert earlier.end_s <= max(later.onset_s, earlier.onset_s + 0.0101)
