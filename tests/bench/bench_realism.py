"""How near the synthetic guitar comes to recordings of a real one. Run by hand:

    OMP_NUM_THREADS=1 python tests/bench/bench_realism.py FOLDER [FOLDER ...] [--takes 2] [--json]

Each folder holds dry single notes (wav, flac) of one guitar, whatever their names. A file whose
first second does not ring at one pitch is left out. For every real note the synthetic guitar plays
``--takes`` notes of the same pitch, each on a newly drawn instrument. Both are cut at their onset,
set to one loudness and measured. Two folders are two guitars, the synthetic ones are thousands:
*inside*, the share of real notes between the 5th and 95th percentile of the synthetic ones,
matters more than equal medians. Then a logistic regression is asked which is which, over folds of
all notes and, the fairer question, on a real guitar it has not been shown.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from scipy.optimize import minimize

from fxpipe.mel import mel_power
from fxpipe.sources.strings import Note
from fxpipe.sources.synth import SAMPLE_RATE_HZ, draw_hand, record, set_up
from fxtrain.contract import MelInfo

Array = npt.NDArray[np.float64]

_WINDOW_S = 2.0
_SHORTEST_S = 1.0
_RMS = 0.1
_LAST_FRET = 22
_FEWEST = 20
_FFT, _HOP = 2048, 441
_FRAME_S = _HOP / SAMPLE_RATE_HZ
_FREQS_HZ = np.fft.rfftfreq(_FFT, 1.0 / SAMPLE_RATE_HZ)
_OCTAVES_HZ = (250.0, 500.0, 1000.0, 2000.0, 4000.0)
_MEL = MelInfo(
    n_mels=64,
    n_fft=_FFT,
    hop_samples=_HOP,
    f_min_hz=40.0,
    f_max_hz=16_000.0,
    floor_db=-80.0,
    step_db=0.4,
)


def real_notes(folder: Path) -> list[tuple[Array, float]]:
    """The ringing notes of a folder, from their onsets, and their pitches in Hz."""
    notes = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in (".wav", ".flac")):
        audio, rate_hz = soundfile.read(path, dtype="float64", always_2d=True)
        mono = soxr.resample(audio.mean(axis=1), rate_hz, SAMPLE_RATE_HZ, quality="VHQ")
        note = cut(mono)
        f0_hz = pitch_hz(note) if note.size >= _SHORTEST_S * SAMPLE_RATE_HZ else 0.0
        if 1.0 < f0_hz < 440.0 * 2 ** ((64.5 + _LAST_FRET - 69) / 12):
            notes.append((note, f0_hz))
    return notes


def synth_note(rng: np.random.Generator, f0_hz: float, seconds: float) -> Array:
    """A note of this pitch on an instrument that reaches it, left to ring."""
    midi = round(69 + 12 * np.log2(f0_hz / 440.0))
    while True:
        rig = set_up(rng).rig
        places = [(s, midi - low) for s, low in enumerate(rig.guitar.open_midi)]
        places = [(string, fret) for string, fret in places if 0 <= fret <= _LAST_FRET]
        if places:
            break
    string, fret = places[int(rng.integers(len(places)))]
    velocity = float(rng.uniform(0.25, 0.95))
    hand = draw_hand(rng, rig.guitar, velocity, seconds)
    note = Note(string, fret, 0.05, seconds + 1.0, velocity, hand.pick_mm)
    audio, _ = record(rng, rig, hand, [note], int((seconds + 0.1) * SAMPLE_RATE_HZ))
    return cut(audio.astype(np.float64))[: int(seconds * SAMPLE_RATE_HZ)]


def cut(audio: Array) -> Array:
    """From the onset (30 dB under the peak, less 5 ms) at most two seconds, at one RMS level."""
    envelope = _envelope(audio, 0.002)
    start = int(np.argmax(envelope > 10 ** (-30 / 20) * envelope.max()) * 0.002 * SAMPLE_RATE_HZ)
    start = max(0, start - int(0.005 * SAMPLE_RATE_HZ))
    note = audio[start : start + int(_WINDOW_S * SAMPLE_RATE_HZ)]
    early = note[: SAMPLE_RATE_HZ // 2]
    return np.asarray(note * (_RMS / np.sqrt(np.mean(early**2) + 1e-20)))


def pitch_hz(note: Array) -> float:
    """Pitch from 60 to 1,400 Hz by autocorrelation of 0.1 to 0.4 s; 0 if it is not periodic."""
    part = note[int(0.1 * SAMPLE_RATE_HZ) : int(0.4 * SAMPLE_RATE_HZ)]
    power = np.abs(np.fft.rfft(part * np.hanning(part.size), 2**15)) ** 2
    window = np.abs(np.fft.rfft(np.hanning(part.size), 2**15)) ** 2
    lags = np.fft.irfft(power)[:1000] / np.maximum(np.fft.irfft(window)[:1000], 1e-9)
    lags /= lags[0]
    first, last = SAMPLE_RATE_HZ // 1400, SAMPLE_RATE_HZ // 60
    best = lags[first:last].max()
    level_db = 20 * np.log10(_envelope(note, 0.05)[10] / _envelope(note, 0.05).max() + 1e-9)
    if best < 0.8 or level_db < -40.0:
        return 0.0
    peaks = np.flatnonzero((lags[1:-1] > lags[:-2]) & (lags[1:-1] >= lags[2:])) + 1
    peaks = peaks[(peaks >= first) & (lags[peaks] > 0.92 * best)]
    at = int(peaks[0])
    before, here, after = lags[at - 1 : at + 2]
    return float(SAMPLE_RATE_HZ / (at + 0.5 * (before - after) / (before - 2 * here + after)))


def measure(note: Array, f0_hz: float) -> dict[str, float]:
    """The statistics of one note; NaN where it does not have one (a band that does not sound)."""
    frames = _power_frames(note)  # [T, F]
    late = slice(int(0.1 / _FRAME_S), int(1.0 / _FRAME_S))
    out: dict[str, float] = {}
    total = frames.sum(axis=1)
    body, attack = frames[late].mean(axis=0), frames[:5].mean(axis=0)
    out["centroid, first 50 ms (Hz)"] = _centroid(attack)
    out["centroid, 0.1-1 s (Hz)"] = _centroid(body)
    out["roll-off 99 %, 0.1-1 s (Hz)"] = _rolloff(body, 0.99)
    out["4-10 kHz, first 50 ms (dB)"] = _band_db(attack, 4e3, 10e3)
    out["4-10 kHz, 0.1-1 s (dB)"] = _band_db(body, 4e3, 10e3)
    out["below the pitch (dB)"] = _band_db(body, 20.0, 0.7 * f0_hz)
    mel_db = 10 * np.log10(mel_power(note.astype(np.float32), SAMPLE_RATE_HZ, _MEL) + 1e-9)
    rises = np.maximum(0.0, np.diff(mel_db[late], axis=0))
    loud = mel_db[late][1:] > mel_db.max() - 60.0
    out["flux while ringing (dB a frame)"] = float(rises[loud].mean())
    out["bursts while ringing (dB)"] = _bursts_db(mel_db[late])
    fine = _envelope(note[: int(0.15 * SAMPLE_RATE_HZ)], 0.001)
    top = int(np.argmax(fine))
    out["attack 10-90 % (ms)"] = float(np.sum(fine[: top + 1] > 0.1 * fine.max()))
    for centre_hz in _OCTAVES_HZ:
        t60_s, wobble_db = _decay(frames, centre_hz)
        out[f"T60 at {centre_hz:.0f} Hz (s)"] = t60_s
        out[f"wobble at {centre_hz:.0f} Hz (dB)"] = wobble_db
    level_db = 10 * np.log10(total + 1e-12)
    early_rate = (level_db[4] - level_db[24]) / 0.2
    out["early over late decay"] = early_rate / max(0.5, (level_db[40] - level_db[90]) / 0.5)
    out |= _partials(note, f0_hz)
    quiet = np.sort(frames, axis=0)[: max(3, len(frames) // 10)].mean(axis=0)
    loudest = 10 * np.log10(total.max())
    for low_hz, high_hz in ((1.5e3, 5e3), (8e3, 16e3)):
        inside = (low_hz <= _FREQS_HZ) & (high_hz > _FREQS_HZ)
        floor_db = 10 * np.log10(np.median(quiet[inside]) * inside.sum() + 1e-20) - loudest
        out[f"floor {low_hz / 1e3:g}-{high_hz / 1e3:g} kHz (dB)"] = float(floor_db)
    return out


def mel_statistics(note: Array) -> Array:
    """Mean and spread over time of 64 mel bands in dB, [128], floored 70 dB under the loudest."""
    mel_db = 10 * np.log10(mel_power(note.astype(np.float32), SAMPLE_RATE_HZ, _MEL) + 1e-12)
    mel_db = np.maximum(mel_db[: int(_SHORTEST_S / _FRAME_S)], mel_db.max() - 70.0)
    return np.concatenate((mel_db.mean(axis=0), mel_db.std(axis=0))).astype(np.float64)


def _power_frames(note: Array) -> Array:
    padded = np.concatenate((np.zeros(_FFT // 2), note, np.zeros(_FFT // 2)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP]
    return np.asarray(np.abs(np.fft.rfft(frames * np.hanning(_FFT), axis=1)) ** 2)


def _envelope(audio: Array, step_s: float) -> Array:
    size = int(step_s * SAMPLE_RATE_HZ)
    return np.asarray(
        np.sqrt(np.mean(audio[: audio.size // size * size].reshape(-1, size) ** 2, 1))
    )


def _centroid(power: Array) -> float:
    return float(np.sum(power * _FREQS_HZ) / np.sum(power))


def _rolloff(power: Array, share: float) -> float:
    reached = np.cumsum(power)
    return float(_FREQS_HZ[np.searchsorted(reached, share * reached[-1])])


def _band_db(power: Array, low_hz: float, high_hz: float) -> float:
    inside = (low_hz <= _FREQS_HZ) & (high_hz > _FREQS_HZ)
    return float(10 * np.log10(power[inside].sum() / power.sum() + 1e-12))


def _bursts_db(mel_db: Array) -> float:
    """The strongest rise of the mean band, over 20 ms, after the attack: a hand that moves."""
    mean_db = np.maximum(mel_db, mel_db.max() - 75.0).mean(axis=1)
    return float(np.max(mean_db[2:] - mean_db[:-2]))


def _decay(frames: Array, centre_hz: float) -> tuple[float, float]:
    """T60 in s of an octave band, and the RMS distance of its level from a straight line in dB."""
    inside = (centre_hz / 2**0.5 <= _FREQS_HZ) & (centre_hz * 2**0.5 > _FREQS_HZ)
    band_db = 10 * np.log10(frames[:, inside].sum(axis=1) + 1e-12)
    first = int(np.argmax(band_db[:20])) + 3
    floor_db = np.sort(band_db)[: max(3, len(band_db) // 10)].mean() + 6.0
    below = np.flatnonzero(band_db[first:] < max(band_db[first] - 30.0, floor_db))
    stop = first + (int(below[0]) if below.size else len(band_db) - first)
    whole_db = 10 * np.log10(frames[:20].sum(axis=1).max())
    if stop - first < 8 or band_db[first] < whole_db - 60.0:
        return float("nan"), float("nan")
    times_s = np.arange(first, stop) * _FRAME_S
    slope, offset = np.polyfit(times_s, band_db[first:stop], 1)
    rest_db = band_db[first:stop] - slope * times_s - offset
    return float(-60.0 / min(slope, -1.0)), float(np.sqrt(np.mean(rest_db**2)))


def _partials(note: Array, f0_hz: float) -> dict[str, float]:
    """Of the partials of 0.05 to 0.55 s: stiffness, glide, evenness, and what lies between them."""
    n_fft = 2**17
    start, stop = int(0.05 * SAMPLE_RATE_HZ), int(0.55 * SAMPLE_RATE_HZ)
    part = note[start:stop]
    power = np.abs(np.fft.rfft(part * np.blackman(part.size), n_fft)) ** 2
    bin_hz = SAMPLE_RATE_HZ / n_fft
    base_hz, stiffness = f0_hz, 1e-4
    found = []
    for k in range(1, 41):
        guess_hz = k * base_hz * np.sqrt(1 + stiffness * k * k)
        if guess_hz > 8e3:
            break
        width_hz = min(0.25 * f0_hz, 12.0 + 0.004 * guess_hz)
        low, high = int((guess_hz - width_hz) / bin_hz), int((guess_hz + width_hz) / bin_hz) + 1
        at = low + int(np.argmax(power[low:high]))
        around = np.concatenate((power[low - (high - low) : low], power[high : 2 * high - low]))
        found.append((k, at * bin_hz, power[at], np.median(around)))
        seen = np.array([(n, hz) for n, hz, level, rest in found if level > 100.0 * rest])
        if len(seen) > 3:
            square, base2 = np.polyfit(seen[:, 0] ** 2, (seen[:, 1] / seen[:, 0]) ** 2, 1)
            base_hz, stiffness = float(np.sqrt(base2)), float(np.clip(square / base2, 0.0, 2e-3))
    k, hz, level, rest = np.array(found).T
    db, clear = 10 * np.log10(level / level.max()), level > 30.0 * rest
    few = k <= 12
    smooth = np.polyval(np.polyfit(k[few], db[few], 2), k[few])
    between = np.where(clear, 10 * np.log10(rest / level), np.nan)
    high = clear & (hz > 1500.0)
    parts = [note[int(a * SAMPLE_RATE_HZ) :][: int(0.12 * SAMPLE_RATE_HZ)] for a in (0.02, 0.6)]
    first_hz, later_hz = (_peak_hz(x, f0_hz) for x in parts)
    return {
        "stiffness B (1e-6)": 1e6 * stiffness if clear.sum() > 5 else float("nan"),
        "glide down (cents)": float(1200 * np.log2(first_hz / later_hz)),
        "unevenness of partials 1-12 (dB)": float(np.std(db[few] - smooth)),
        "weakest of partials 2-8 (dB)": float(db[1:8].min()) if db.size > 7 else float("nan"),
        "between partials, all (dB)": float(np.nanmedian(between)),
        "between partials > 1.5 kHz (dB)": float(np.median(between[high]))
        if high.sum() > 2
        else float("nan"),
        "partials seen below 5 kHz (%)": float(100 * np.mean(clear[hz < 5e3])),
    }


def _peak_hz(part: Array, f0_hz: float) -> float:
    """The strongest of the partials 1 to 3, as the first partial's frequency."""
    n_fft = 2**18
    power = np.abs(np.fft.rfft(part * np.blackman(part.size), n_fft)) ** 2
    bin_hz = SAMPLE_RATE_HZ / n_fft
    low, high = int(0.94 * f0_hz / bin_hz), int(1.06 * f0_hz / bin_hz)
    return float((low + np.argmax(power[low:high])) * bin_hz)


def logistic(features: Array, is_real: Array, strength: float = 1.0) -> Array:
    """Weights [F + 1] of an L2-regularised logistic regression with balanced classes."""
    weight = np.where(is_real > 0.5, 0.5 / is_real.mean(), 0.5 / (1 - is_real.mean()))
    signs = 2 * is_real - 1
    padded = np.hstack((features, np.ones((len(features), 1))))

    def loss(w: Array) -> tuple[float, Array]:
        margin = signs * (padded @ w)
        value = np.sum(weight * np.logaddexp(0.0, -margin)) + 0.5 * strength * np.sum(w[:-1] ** 2)
        slope = -weight * signs / (1 + np.exp(np.clip(margin, -500, 500)))
        gradient = padded.T @ slope
        gradient[:-1] += strength * w[:-1]
        return float(value), gradient

    found = minimize(loss, np.zeros(padded.shape[1]), jac=True, method="L-BFGS-B")
    return np.asarray(found.x)


def accuracy(features: Array, is_real: Array, is_test: npt.NDArray[np.bool_]) -> float:
    """Balanced accuracy on the test rows of a regression fitted on the others."""
    train = features[~is_test]
    centre, spread = train.mean(axis=0), train.std(axis=0) + 1e-9
    weights = logistic((train - centre) / spread, is_real[~is_test], 3.0)
    scores = (features[is_test] - centre) / spread @ weights[:-1] + weights[-1]
    truth = is_real[is_test] > 0.5
    return float(0.5 * (np.mean(scores[truth] > 0) + np.mean(scores[~truth] <= 0)))


def folds(n_rows: int, n_folds: int = 5) -> list[npt.NDArray[np.bool_]]:
    turn = np.random.default_rng(0).permutation(n_rows) % n_folds
    return [turn == fold for fold in range(n_folds)]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--takes", type=int, default=2, help="synthetic notes for each real one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    args = parser.parse_args(argv)

    real, fake, mels, is_real, guitar = [], [], [], [], []
    for number, folder in enumerate(args.folders):
        notes = real_notes(folder)
        print(f"{folder.name}: {len(notes)} ringing notes", file=sys.stderr)
        for count, (note, f0_hz) in enumerate(notes):
            real.append(measure(note, f0_hz))
            mels.append(mel_statistics(note))
            is_real.append(1.0)
            guitar.append(number)
            for take in range(args.takes):
                rng = np.random.default_rng([args.seed, number, count, take])
                played = synth_note(rng, f0_hz, note.size / SAMPLE_RATE_HZ)
                midi_hz = 440.0 * 2.0 ** (round(12 * np.log2(f0_hz / 440.0)) / 12)
                fake.append(measure(played, midi_hz))
                mels.append(mel_statistics(played))
                is_real.append(0.0)
                guitar.append(number)
    if len(real) < _FEWEST:
        parser.error(f"{len(real)} ringing notes found; name folders that hold {_FEWEST} or more")
    rows = table(real, fake)
    tests = classify(real, fake, np.array(mels), np.array(is_real), np.array(guitar))
    if args.json:
        print(json.dumps({"notes": len(real), "statistics": rows, "classifier": tests}))
        return
    print("| statistic | real | synthetic | inside | told apart |\n|---|---|---|---|---|")
    for name, row in rows.items():
        spans = [
            f"{_short(b)} ({_short(a)} … {_short(c)})" for a, b, c in (row["real"], row["synth"])
        ]
        print(f"| {name} | {spans[0]} | {spans[1]} | {row['inside']:.0%} | {row['auc']:.2f} |")
    for name, value in tests.items():
        print(f"{name}: {value}")


def table(
    real: list[dict[str, float]], fake: list[dict[str, float]]
) -> dict[str, dict[str, object]]:
    """Of each statistic: the 10th, 50th and 90th percentile, the share inside, and the AUC."""
    rows: dict[str, dict[str, object]] = {}
    for name in real[0]:
        ours, theirs = (np.array([row[name] for row in side]) for side in (fake, real))
        ours, theirs = ours[np.isfinite(ours)], theirs[np.isfinite(theirs)]
        low, high = np.percentile(ours, (5, 95))
        auc = np.mean(theirs[:, None] > ours) + 0.5 * np.mean(theirs[:, None] == ours)
        rows[name] = {
            "real": np.percentile(theirs, (10, 50, 90)).tolist(),
            "synth": np.percentile(ours, (10, 50, 90)).tolist(),
            "inside": float(np.mean((low <= theirs) & (theirs <= high))),
            "auc": float(max(auc, 1 - auc)),
        }
    return rows


def classify(
    real: list[dict[str, float]],
    fake: list[dict[str, float]],
    mels: Array,
    is_real: Array,
    guitar: npt.NDArray[np.int64],
) -> dict[str, object]:
    """Balanced accuracies, on mel statistics and on the table's; 0.5 is a coin."""
    sides = [iter(fake), iter(real)]
    rows = np.array([list(next(sides[int(flag)]).values()) for flag in is_real])
    rows = np.where(np.isfinite(rows), rows, np.nanmedian(rows, axis=0))
    out: dict[str, object] = {}
    for name, features in (("mel", mels), ("table", rows)):
        inside = [accuracy(features, is_real, test) for test in folds(len(features))]
        out[f"{name}, five folds"] = round(float(np.mean(inside)), 3)
        if len(set(guitar.tolist())) > 1:
            across = [
                accuracy(features, is_real, guitar == one) for one in sorted(set(guitar.tolist()))
            ]
            out[f"{name}, unseen guitar"] = [round(value, 3) for value in across]
    scaled = (mels - mels.mean(axis=0)) / (mels.std(axis=0) + 1e-9)
    weights = logistic(scaled, is_real, 30.0)[:-1]
    kinds = [f"{kind} of band {band}" for kind in ("mean", "spread") for band in range(64)]
    strongest = np.argsort(-np.abs(weights))[:8]
    out["mel, most telling"] = [f"{kinds[i]} {weights[i]:+.2f}" for i in strongest]
    scaled = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + 1e-9)
    weights = logistic(scaled, is_real, 30.0)[:-1]
    names = list(real[0])
    strongest = np.argsort(-np.abs(weights))[:8]
    out["table, most telling"] = [f"{names[i]} {weights[i]:+.2f}" for i in strongest]
    return out


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.2g}"


if __name__ == "__main__":
    main(sys.argv[1:])
