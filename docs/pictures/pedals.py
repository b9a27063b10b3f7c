"""Draws one picture a pedal and writes its measured numbers: python docs/pictures/pedals.py [names]

With ``--check`` nothing is drawn, and a page whose numbers differ from the code's is an error.
Pictures go to docs/img/pedals/, numbers between the ``measured`` markers of docs/pedals/NAME.md.
All at the settings of ``PedalSpec.example`` on the embedded guitar, whose clips are drawn by seed.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.signal

from fxpipe.distance import change_db
from fxpipe.level import loudness_lufs
from fxpipe.pedals import PEDALS, build_pedal
from fxpipe.sources.synth import perform
from fxtrain.contract import Pedal, from_unit

DOCS = Path(__file__).parents[1]
RATE_HZ = 44_100
N = 2 * RATE_HZ
CLIP_SEED = 13
PEAKS_DBFS = (-15.0, -9.0, -3.0)
DRY, WET, MUTED = "#8a8f98", "#c2410c", "#d8dbe0"
ALIAS_HZ = 1318.5
"""The highest note of a guitar: 24th fret of the first string."""

Draw = Callable[[Any, Pedal], None]


def clip(seed: int, peak_dbfs: float = -9.0) -> np.ndarray:
    """Two seconds of dry guitar, float32 [N]."""
    wave, _ = perform(np.random.default_rng([2026, seed]), N)
    return (wave * np.float32(10 ** (peak_dbfs / 20) / np.abs(wave).max())).astype(np.float32)


def wet(pedal: Pedal, audio: np.ndarray) -> np.ndarray:
    return build_pedal(pedal, RATE_HZ)(np.ascontiguousarray(audio, np.float32))


def sine(hz: float, amplitude: float, n: int = RATE_HZ) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * hz * np.arange(n) / RATE_HZ)).astype(np.float32)


def decibels(values: np.ndarray, floor_db: float = -120.0) -> np.ndarray:
    return np.maximum(20 * np.log10(np.maximum(np.abs(values), 1e-12)), floor_db)


# What goes into a picture.


def draw_waves(axis: Any, dry: np.ndarray, out: np.ndarray) -> None:
    seconds = np.arange(N) / RATE_HZ
    loud, soft = (out, dry) if np.abs(out).max() > np.abs(dry).max() else (dry, out)
    for wave in (loud, soft):
        axis.plot(seconds, wave, color=WET if wave is out else DRY, lw=0.4)
    axis.set_xlim(0, N / RATE_HZ)
    axis.set_title("waveform before (grey) and after; the smaller in front")
    axis.set_xlabel("s")


def draw_spectrogram(axis: Any, wave: np.ndarray, title: str, top_db: float) -> None:
    f_hz, t_s, power = scipy.signal.spectrogram(
        wave, RATE_HZ, nperseg=2048, noverlap=1536, mode="magnitude"
    )
    axis.pcolormesh(
        t_s, f_hz, decibels(power) - top_db, vmin=-80, vmax=0, cmap="magma", rasterized=True
    )
    axis.set_yscale("symlog", linthresh=500)
    axis.set_ylim(60, 20_000)
    axis.set_yticks([100, 500, 1000, 4000, 16_000], ["100", "500", "1k", "4k", "16k"])
    axis.set_title(title)
    axis.set_xlabel("s")


def top_of(wave: np.ndarray) -> float:
    _, _, power = scipy.signal.spectrogram(wave, RATE_HZ, nperseg=2048, mode="magnitude")
    return float(decibels(power).max())


def draw_transfer(axis: Any, pedal: Pedal) -> None:
    """Out against in, for a 1 kHz sine at three levels."""
    for amplitude, shade in ((0.5, MUTED), (0.15, "#f0a36b"), (0.05, WET)):
        dry = sine(1000.0, amplitude)
        axis.plot(dry[-2000:], wet(pedal, dry)[-2000:], color=shade, lw=1)
    axis.set_title("out against in, 1 kHz at -6, -16 and -26 dBFS")
    axis.axhline(0, color=MUTED, lw=0.5)
    axis.axvline(0, color=MUTED, lw=0.5)


def draw_response(axis: Any, pedal: Pedal) -> None:
    """Gain over frequency, from a click; quiet, so that a drive answers as it does to a whisper."""
    click = np.zeros(1 << 16, np.float32)
    level = 1e-5 if PEDALS[pedal.name].linearity == "nonlinear" else 0.1
    click[1000] = level
    gain_db = decibels(np.fft.rfft(wet(pedal, click)) / level)
    f_hz = np.fft.rfftfreq(len(click), 1 / RATE_HZ)
    axis.semilogx(f_hz[1:], gain_db[1:], color=WET, lw=0.8)
    axis.set_xlim(40, 20_000)
    peak = gain_db[(f_hz > 40) & (f_hz < 20_000)].max()
    axis.set_ylim(peak - 50, peak + 5)
    axis.grid(alpha=0.3, which="both")
    axis.set_title("gain in dB over frequency" + (", soft" if level < 0.1 else ""))
    axis.set_xlabel("Hz")


def draw_impulse(axis: Any, pedal: Pedal) -> None:
    """What comes back of one click, in dB."""
    click = np.zeros(3 * RATE_HZ, np.float32)
    click[0] = 0.5
    answer = decibels(wet(pedal, click) / 0.5)
    loud = scipy.ndimage.maximum_filter1d(answer, 200)
    axis.plot(np.arange(len(click)) / RATE_HZ, loud, color=WET, lw=0.8)
    axis.set_ylim(-80, 3)
    axis.set_title("what comes back of one click, dB")
    axis.set_xlabel("s")


def draw_sweep(axis: Any, pedal: Pedal) -> None:
    """Gain over frequency, every 40 ms: peaks and notches on their way."""
    every, n_clicks = round(0.04 * RATE_HZ), 100
    clicks = np.zeros(every * n_clicks, np.float32)
    clicks[::every] = 0.1
    answers = wet(pedal, clicks).reshape(n_clicks, every) / 0.1
    gain_db = decibels(np.fft.rfft(answers, axis=1).T)
    f_hz = np.fft.rfftfreq(every, 1 / RATE_HZ)
    t_s = np.arange(n_clicks) * every / RATE_HZ
    axis.pcolormesh(t_s, f_hz, gain_db, vmin=-24, vmax=6, cmap="magma", rasterized=True)
    axis.set_yscale("symlog", linthresh=500)
    axis.set_ylim(100, 12_000)
    axis.set_yticks([100, 500, 1000, 4000], ["100", "500", "1k", "4k"])
    axis.set_title("gain over time and frequency (dark: a notch)")
    axis.set_xlabel("s")


def draw_ends(axis: Any, pedal: Pedal) -> None:
    """The same with every knob at its low end, and at its high end."""
    click = np.zeros(1 << 15, np.float32)
    click[0] = 0.1
    f_hz = np.fft.rfftfreq(len(click), 1 / RATE_HZ)
    for u, colour in ((0.0, DRY), (1.0, WET)):
        turned = {p.name: from_unit(p, u) for p in PEDALS[pedal.name].params}
        gain_db = decibels(np.fft.rfft(wet(Pedal(pedal.name, turned), click)) / 0.1)
        axis.semilogx(f_hz[1:], gain_db[1:], color=colour, lw=0.8)
    axis.set_xlim(40, 20_000)
    axis.set_ylim(-40, 30)
    axis.grid(alpha=0.3, which="both")
    axis.set_title("gain in dB: all knobs down (grey) and up")
    axis.set_xlabel("Hz")


def draw_gain(axis: Any, pedal: Pedal) -> None:
    """Gain over time, on a steady tone."""
    tone = sine(1000.0, 0.1, N)
    out = wet(pedal, tone)
    envelope = np.abs(scipy.signal.hilbert(out)) / 0.1
    axis.plot(np.arange(N) / RATE_HZ, decibels(envelope, -40), color=WET, lw=1)
    axis.set_title("gain over time, dB (steady 1 kHz)")
    axis.set_xlabel("s")


def draw_detune(axis: Any, pedal: Pedal) -> None:
    """Pitch of the second voice over time: what differs from the tone, followed by its phase."""
    tone = sine(1000.0, 0.1, 4 * RATE_HZ)
    mix = pedal.settings["mix"]
    voice = (wet(pedal, tone) - (1 - mix) * tone) / mix
    turns = np.unwrap(np.angle(scipy.signal.hilbert(voice))) / (2 * np.pi)
    hz = np.gradient(scipy.ndimage.uniform_filter1d(turns, 441)) * RATE_HZ
    cents = 1200 * np.log2(np.maximum(hz, 1) / 1000)
    axis.plot(np.arange(len(tone)) / RATE_HZ, cents, color=WET, lw=1)
    axis.set_ylim(-120, 120)
    axis.grid(alpha=0.3)
    axis.set_title("pitch of the second voice, cents")
    axis.set_xlabel("s")


def draw_levels(axis: Any, pedal: Pedal) -> None:
    """Level out against level in, of steady tones."""
    levels_db = np.arange(-66, 0, 3)
    out = [decibels(wet(pedal, sine(440.0, 10 ** (db / 20))))[-8820:].max() for db in levels_db]
    axis.plot(levels_db, levels_db, color=MUTED, lw=1)
    axis.plot(levels_db, out, color=WET, lw=1.2, marker=".")
    axis.grid(alpha=0.3)
    axis.set_title("level out against level in, dBFS (440 Hz)")


def draw_steps(axis: Any, pedal: Pedal) -> None:
    """What a sudden loud and a sudden soft tone become: attack and release."""
    loud = np.repeat([0.02, 0.4, 0.02], [RATE_HZ // 4, RATE_HZ // 2, RATE_HZ])
    tone = (sine(440.0, 1.0, len(loud)) * loud).astype(np.float32)
    seconds = np.arange(len(tone)) / RATE_HZ
    axis.plot(seconds, wet(pedal, tone), color=WET, lw=0.4)
    axis.plot(seconds, loud, color=DRY, lw=1)
    axis.set_title("a soft, a loud and a soft tone (grey: before)")
    axis.set_xlabel("s")


def draw_spectrum(axis: Any, pedal: Pedal) -> None:
    """Partials of one held note, before and after."""
    n = 1 << 16
    t = np.arange(2 * n) / RATE_HZ
    note = sum(np.sin(2 * np.pi * 220 * k * t) / k for k in range(1, 20)) * 0.1
    note = np.asarray(note, np.float32)
    window = np.hanning(n)
    f_hz = np.fft.rfftfreq(n, 1 / RATE_HZ)
    for wave, colour in ((wet(pedal, note), WET), (note, DRY)):
        axis.plot(f_hz, decibels(np.fft.rfft(wave[-n:] * window) / n), color=colour, lw=0.7)
    axis.set_xlim(0, 1500)
    axis.set_ylim(-100, -20)
    axis.set_title("a held A3 (220 Hz), before (grey) and after, dB")
    axis.set_xlabel("Hz")


def draw_staircase(axis: Any, pedal: Pedal) -> None:
    ramp = np.linspace(-0.6, 0.6, RATE_HZ).astype(np.float32)
    axis.plot(ramp, ramp, color=MUTED, lw=1)
    axis.plot(ramp, wet(pedal, ramp), color=WET, lw=1)
    axis.set_title("out against in")


BY_KIND: dict[str, tuple[Draw, Draw]] = {
    "lti": (draw_response, draw_ends),
    "ltv": (draw_sweep, draw_gain),
    "nonlinear": (draw_transfer, draw_response),
}
OF_PEDAL: dict[str, tuple[Draw, Draw]] = {
    "compressor": (draw_levels, draw_steps),
    "gate": (draw_levels, draw_steps),
    "octaver": (draw_spectrum, draw_steps),
    "bitcrusher": (draw_staircase, draw_spectrum),
    "chorus": (draw_sweep, draw_detune),
    "delay": (draw_impulse, draw_response),
    "reverb": (draw_impulse, draw_response),
}


def draw(name: str, folder: Path) -> Path:
    """The picture of one pedal."""
    from matplotlib.figure import Figure
    from PIL import Image

    pedal = PEDALS[name].example(name)
    dry = clip(CLIP_SEED)
    out = wet(pedal, dry)
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    grid = figure.subplot_mosaic("AA;BC;DE", height_ratios=(0.8, 1, 1))
    knobs = ", ".join(f"{key} {value:.3g}" for key, value in pedal.settings.items())
    figure.suptitle(f"{name}: {knobs}", fontsize=10)
    draw_waves(grid["A"], dry, out)
    draw_spectrogram(grid["B"], dry, "before", top_of(dry))
    draw_spectrogram(grid["C"], out, "after", top_of(out))
    left, right = OF_PEDAL.get(name, BY_KIND[PEDALS[name].linearity])
    left(grid["D"], pedal)
    right(grid["E"], pedal)
    for axis in grid.values():
        axis.title.set_fontsize(9)
        axis.tick_params(labelsize=7)
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=80)
    path = folder / f"{name}.png"
    Image.open(buffer).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    return path


# Numbers.


def alias_db(pedal: Pedal, hz: float = ALIAS_HZ, amplitude: float = 0.3) -> float:
    """Energy below 16 kHz that is no harmonic of a sine, relative to its harmonics."""
    n = 1 << 16
    bin_ = round(hz * n / RATE_HZ) | 1
    out = wet(pedal, sine(bin_ * RATE_HZ / n, amplitude, 2 * n))[n:].astype(np.float64)
    power = np.abs(np.fft.rfft(out)) ** 2
    harmonic = np.zeros(len(power), bool)
    for k in range(0, len(power), bin_):
        harmonic[max(0, k - 2) : k + 3] = True
    heard = np.arange(len(power)) * RATE_HZ / n < 16_000
    heard[:3] = False
    rest = power[~harmonic & heard].sum()
    return float(10 * np.log10(max(rest / power[harmonic & heard].sum(), 1e-15)))


def measured(name: str) -> str:
    """The table of numbers of a pedal's page."""
    spec = PEDALS[name]
    pedal = spec.example(name)
    louder, changed, peak = [], [], 0.0
    for peak_dbfs in PEAKS_DBFS:
        gains = []
        for seed in range(4):
            dry = clip(seed, peak_dbfs)
            out = wet(pedal, dry)
            gains.append(loudness_lufs(out, RATE_HZ) - loudness_lufs(dry, RATE_HZ))
            changed.append(change_db(dry, out))
            peak = max(peak, float(np.abs(out).max()))
        louder.append(float(np.median(gains)))
    rows = [
        ("louder by", " / ".join(f"{value:+.1f}" for value in louder) + " LU",
         "played soft / medium / hard (peaks at -15, -9, -3 dBFS)"),
        ("changes its input by", f"{np.median(changed):.1f} dB", "residual after the best gain"),
        ("highest peak", f"{decibels(np.array(peak)):.1f} dBFS", "played hard"),
    ]  # fmt: skip
    if spec.family == "drive" and name != "bitcrusher":
        full = Pedal(name, {p.name: from_unit(p, 1.0) for p in spec.params})
        rows.append(
            (
                "aliasing",
                f"{alias_db(pedal):.0f} dB, all knobs up {alias_db(full):.0f} dB",
                f"a sine of {ALIAS_HZ:g} Hz, a guitar's highest note; relative to its harmonics",
            )
        )
    lines = ["| measured at the first try | | |", "| --- | ---: | --- |"]
    return "\n".join([*lines, *(f"| {a} | {b} | {c} |" for a, b, c in rows)])


def main(names: list[str], *, check: bool) -> int:
    pages = {name: DOCS / "pedals" / f"{name}.md" for name in names or PEDALS}
    stale = []
    for name, page in pages.items():
        old = page.read_text(encoding="utf-8")
        pattern = re.compile(rf"(<!-- measured {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        new = pattern.sub(lambda m, name=name: f"{m[1]}{measured(name)}\n{m[2]}", old)
        if new != old:
            stale.append(page.name)
            if not check:
                page.write_text(new, encoding="utf-8")
        if not check:
            path = draw(name, DOCS / "img" / "pedals")
            print(f"{path.relative_to(DOCS)}: {path.stat().st_size / 1000:.0f} kB")
    if check and stale:
        print(f"numbers out of date: {', '.join(stale)}; run python docs/pictures/pedals.py")
        return 1
    return 0


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(main([word for word in words if word != "--check"], check="--check" in words))
