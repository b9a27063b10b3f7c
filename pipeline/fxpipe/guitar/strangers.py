"""Sounds that are no guitar, made from numbers: what the guitar check is taught to turn away.

Speech and singing from a source and formants (Klatt 1980), drums from decaying tones and noise,
sustained instruments, test tones, noise, and mixes of them. Shapes: N audio sample.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.signal import butter, lfilter, sosfilt

RATE_HZ = 44_100
Rng = np.random.Generator
Wave = np.ndarray


def noise(rng: Rng, n: int) -> Wave:
    """Coloured, and sometimes in gusts or within one band."""
    wave = coloured(rng, n, rng.uniform(-0.3, 2.2))
    if rng.random() < 0.4:
        wave = band(wave, *np.sort(np.exp(rng.uniform(np.log(60), np.log(16_000), 2))))
    if rng.random() < 0.5:
        wave = wave * slow(rng, n, rng.uniform(0.5, 12.0)) ** rng.uniform(0.5, 3)
    return wave


def tones(rng: Rng, n: int) -> Wave:
    """One to five steady sines, or a sweep, or mains hum, or a square or saw test tone."""
    t = np.arange(n) / RATE_HZ
    kind = rng.integers(4)
    if kind == 0:
        pitches = np.exp(rng.uniform(np.log(50), np.log(8000), rng.integers(1, 6)))
        return added([rng.uniform(0.2, 1) * np.sin(2 * np.pi * f * t) for f in pitches])
    if kind == 1:
        low, high = np.exp(np.sort(rng.uniform(np.log(40), np.log(14_000), 2)))
        pitch = np.geomspace(low, high, n)[:: rng.choice([-1, 1])]
        swept: Wave = np.sin(2 * np.pi * np.cumsum(pitch) / RATE_HZ)
        return swept
    if kind == 2:
        mains = rng.choice([50.0, 60.0])
        harmonics = range(1, rng.integers(4, 30))
        return added(
            [
                rng.uniform(0, 1) / k * np.sin(2 * np.pi * mains * k * t + rng.uniform(0, 6))
                for k in harmonics
            ]
        )
    turn: Wave = (np.exp(rng.uniform(np.log(50), np.log(2000))) * t) % 1
    square: Wave = np.sign(turn - rng.uniform(0.1, 0.9))
    return square if rng.random() < 0.5 else 2 * turn - 1


def clicks(rng: Rng, n: int) -> Wave:
    """Single samples and short bursts, at random or in a rhythm."""
    wave = np.zeros(n)
    count = rng.integers(2, 60)
    places = rng.integers(0, n, count) if rng.random() < 0.5 else np.arange(0, n, n // count)
    wave[places] = rng.uniform(-1, 1, len(places))
    if rng.random() < 0.7:
        wave = lfilter([1], [1, -rng.uniform(0.5, 0.97)], wave)
    return wave


def speech(rng: Rng, n: int) -> Wave:
    """Syllables of a formant voice with gliding pitch, hisses between them, and pauses."""
    return voice(rng, n, sung=False)


def singing(rng: Rng, n: int) -> Wave:
    return voice(rng, n, sung=True)


def voice(rng: Rng, n: int, *, sung: bool) -> Wave:
    base = np.exp(rng.uniform(np.log(80), np.log(280 if not sung else 500)))
    out = np.zeros(n)
    at = int(rng.uniform(-0.2, 0.1) * RATE_HZ)
    size = rng.uniform(0.85, 1.25)
    rate = rng.uniform(0.7, 1.5)
    formants = _vowel(rng) * size
    while at < n:
        length = int(RATE_HZ * (rng.uniform(0.3, 1.2) if sung else rng.uniform(0.09, 0.3) / rate))
        if rng.random() < (0.1 if sung else 0.22):
            at += int(RATE_HZ * rng.uniform(0.05, 0.4))
            continue
        target = _vowel(rng) * size
        t = np.linspace(0, 1, length)
        if sung:
            step = 2 ** (rng.integers(-7, 8) / 12)
            pitch = (
                base
                * step
                * (1 + rng.uniform(0.003, 0.02) * np.sin(2 * np.pi * 5.5 * t * length / RATE_HZ))
            )
        else:
            a, b, c = base * 2 ** (rng.uniform(-0.35, 0.35, 3))
            pitch = a * (1 - t) ** 2 + 2 * b * t * (1 - t) + c * t**2
        pitch = pitch * (1 + 0.008 * np.interp(t, np.linspace(0, 1, 12), rng.standard_normal(12)))
        phase = np.cumsum(pitch) / RATE_HZ
        pulse = np.diff(np.floor(phase), prepend=0) * (1 + 0.1 * rng.standard_normal(length))
        source = lfilter([1], [1, -1.84, 0.8464], pulse) + rng.uniform(
            0.002, 0.02
        ) * rng.standard_normal(length)
        syllable = np.zeros(length)
        pieces = max(2, length // 1500)
        edges = np.linspace(0, length, pieces + 1).astype(int)
        state = [np.zeros(2) for _ in formants]
        for i in range(pieces):
            mix = min(1.0, 2.0 * i / pieces)
            part = source[edges[i] : edges[i + 1]]
            total = part
            for k, (f, g) in enumerate(zip(formants, target, strict=True)):
                centre = (1 - mix) * f + mix * g
                r = np.exp(-np.pi * (50 + 0.06 * centre) / RATE_HZ)
                w = 2 * np.pi * centre / RATE_HZ
                total, state[k] = lfilter(
                    [1 - 2 * r * np.cos(w) + r * r],
                    [1, -2 * r * np.cos(w), r * r],
                    total,
                    zi=state[k],
                )
            syllable[edges[i] : edges[i + 1]] = total
        formants = target
        rise = np.minimum(1, np.minimum(t / 0.15, (1 - t) / 0.25))
        syllable *= rise / (np.abs(syllable).max() + 1e-9) * rng.uniform(0.4, 1)
        add(out, at, syllable)
        if not sung and rng.random() < 0.45:
            hiss_n = int(RATE_HZ * rng.uniform(0.02, 0.14))
            low = rng.uniform(1500, 5500)
            hiss = band(rng.standard_normal(hiss_n), low, min(18_000, low * rng.uniform(1.5, 3)))
            add(
                out,
                at + (length if rng.random() < 0.5 else -hiss_n),
                hiss * np.hanning(hiss_n) * rng.uniform(0.05, 0.35),
            )
        at += int(length * rng.uniform(0.85, 1.15))
    return out


_VOWELS = np.array(
    [
        (730, 1090, 2440, 3400),
        (270, 2290, 3010, 3700),
        (300, 870, 2240, 3300),
        (530, 1840, 2480, 3500),
        (570, 840, 2410, 3300),
        (660, 1720, 2410, 3500),
        (490, 1350, 1690, 3300),
        (640, 1190, 2390, 3300),
    ],
    float,
)


def _vowel(rng: Rng) -> np.ndarray:
    found: np.ndarray = _VOWELS[rng.integers(len(_VOWELS))] * rng.uniform(0.92, 1.08, 4)
    return found


def drums(rng: Rng, n: int) -> Wave:
    """A pattern of kick, snare, hats, toms and cymbals."""
    out = np.zeros(n)
    step = RATE_HZ * 60 / rng.uniform(70, 180) / rng.choice([2, 4])
    kit = [
        _kick(rng),
        _snare(rng),
        _hat(rng, 0.04),
        _hat(rng, rng.uniform(0.2, 1.0)),
        _kick(rng, tom=True),
        _snare(rng),
    ]
    odds = rng.uniform(0.0, 0.7, len(kit)) * (rng.random(len(kit)) < 0.8)
    odds[rng.integers(len(kit))] = 0.7
    for i in range(int(n / step) + 1):
        for drum, p in zip(kit, odds, strict=True):
            if rng.random() < p:
                add(out, int(i * step + rng.normal(0, 80)), drum * rng.uniform(0.4, 1))
    return out


def _kick(rng: Rng, tom: bool = False) -> Wave:
    n = int(RATE_HZ * rng.uniform(0.15, 0.6))
    t = np.arange(n) / RATE_HZ
    low = rng.uniform(70, 240) if tom else rng.uniform(38, 75)
    pitch = low * (1 + rng.uniform(0.3, 5) * np.exp(-t / rng.uniform(0.01, 0.05)))
    body = np.sin(2 * np.pi * np.cumsum(pitch) / RATE_HZ) * np.exp(-t / rng.uniform(0.05, 0.25))
    return body + rng.uniform(0, 0.3) * rng.standard_normal(n) * np.exp(-t / 0.006)


def _snare(rng: Rng) -> Wave:
    n = int(RATE_HZ * rng.uniform(0.1, 0.4))
    t = np.arange(n) / RATE_HZ
    rattle = band(rng.standard_normal(n), rng.uniform(300, 2500), rng.uniform(6000, 16_000))
    tone = np.sin(2 * np.pi * rng.uniform(150, 330) * t) * np.exp(-t / 0.05)
    return rng.uniform(0.2, 1) * tone + rng.uniform(0.4, 1.5) * rattle * np.exp(
        -t / rng.uniform(0.03, 0.15)
    )


def _hat(rng: Rng, decay_s: float) -> Wave:
    n = int(RATE_HZ * min(1.5, decay_s * 6))
    t = np.arange(n) / RATE_HZ
    metal = sum(
        np.sign(np.sin(2 * np.pi * f * t)) for f in rng.uniform(300, 900, 6) * rng.uniform(1, 8, 6)
    )
    hiss = band(rng.standard_normal(n) + 0.3 * metal, rng.uniform(4000, 9000), 18_000)
    return 0.5 * hiss * np.exp(-t / decay_s)


def sustained(rng: Rng, n: int) -> Wave:
    """Bowed, blown or keyed: notes that swell and hold, with vibrato; organs and synth pads too."""
    out = np.zeros(n)
    partials = int(rng.integers(2, 40))
    slope, odd = rng.uniform(0.4, 2.2), rng.random() < 0.3
    attack, vibrato = rng.uniform(0.02, 0.3), rng.choice([0.0, rng.uniform(0.002, 0.015)])
    breath = rng.choice([0.0, rng.uniform(0.01, 0.2)])
    at, base = int(-RATE_HZ * rng.uniform(0, 0.5)), rng.integers(40, 76)
    chord = (
        [0]
        if rng.random() < 0.5
        else list(rng.choice([[0, 4, 7], [0, 3, 7], [0, 7, 12], [0, 5, 9]]))
    )
    while at < n:
        length = int(RATE_HZ * rng.uniform(0.25, 1.8))
        t = np.arange(length) / RATE_HZ
        note = np.zeros(length)
        root = base + rng.integers(-7, 8)
        for interval in chord:
            f = 440 * 2 ** ((root + interval - 69) / 12) * (1 + rng.normal(0, 0.001))
            phase = (
                2
                * np.pi
                * np.cumsum(f * (1 + vibrato * np.sin(2 * np.pi * rng.uniform(4, 7) * t)))
                / RATE_HZ
            )
            for k in range(1, partials + 1, 2 if odd else 1):
                if f * k < 18_000:
                    note += k**-slope * rng.uniform(0.5, 1) * np.sin(k * phase + rng.uniform(0, 6))
        note += breath * band(rng.standard_normal(length), 500, 6000) * np.abs(note).max()
        left = np.arange(length)[::-1] / RATE_HZ
        note *= np.minimum(1, t / attack) * np.minimum(1, left / rng.uniform(0.02, 0.2))
        add(out, at, note / (np.abs(note).max() + 1e-9) * rng.uniform(0.5, 1))
        at += int(length * rng.uniform(0.9, 1.05))
    return out


def keys(rng: Rng, n: int) -> Wave:
    """Struck notes with stretched partials that die away: only ever within a mix."""
    out = np.zeros(n)
    at, base, decay = 0, rng.integers(45, 72), rng.uniform(0.2, 1.5)
    stretched = np.arange(1, 9) * np.sqrt(1 + 4e-4 * np.arange(1, 9) ** 2)
    while at < n:
        t = np.arange(int(RATE_HZ * rng.choice([0.25, 0.5, 1.0]))) / RATE_HZ
        fade = np.exp(-t / decay)
        for interval in rng.choice([0, 4, 7, 12, 3, 9], rng.integers(1, 4), replace=False):
            f = 440 * 2 ** ((base + rng.integers(-5, 6) + interval - 69) / 12)
            phase = 2 * np.pi * f * t
            add(out, at, fade * added([np.sin(k * phase) / k**1.2 for k in stretched]))
        at += int(len(t) * rng.choice([0.5, 1.0]))
    return out


def bass(rng: Rng, n: int) -> Wave:
    out = np.zeros(n)
    step = int(RATE_HZ * 60 / rng.uniform(70, 180) / rng.choice([1, 2]))
    root, decay = rng.integers(26, 41), rng.uniform(0.1, 0.8)
    for at in range(0, n, step):
        t = np.arange(step) / RATE_HZ
        f = 440 * 2 ** ((root + rng.choice([0, 0, 3, 5, 7, -2]) - 69) / 12)
        add(
            out,
            at,
            sum(k**-1.5 * np.sin(2 * np.pi * f * k * t) for k in range(1, 12)) * np.exp(-t / decay),
        )
    return out


def mix(rng: Rng, n: int) -> Wave:
    """Drums, bass, chords and a lead or a voice, each at its own level."""
    parts = [drums, bass, sustained, keys, singing if rng.random() < 0.4 else sustained]
    total = np.zeros(n)
    for part in parts:
        if rng.random() < 0.85:
            wave = part(rng, n)
            total += wave / (np.sqrt(np.mean(wave**2)) + 1e-9) * 10 ** (rng.uniform(-10, 2) / 20)
    return total if np.any(total) else drums(rng, n)


KINDS: dict[str, Callable[[Rng, int], Wave]] = {
    "noise": noise,
    "tones": tones,
    "clicks": clicks,
    "speech": speech,
    "singing": singing,
    "drums": drums,
    "sustained": sustained,
    "mix": mix,
}


def recorded(rng: Rng, wave: Wave) -> Wave:
    """As if through a microphone, a room and a converter: tilt, band, echoes, squeeze, hiss."""
    n = len(wave)
    wave = wave / (np.abs(wave).max() + 1e-9)
    if rng.random() < 0.4:
        tail = int(RATE_HZ * rng.uniform(0.05, 0.8))
        room = rng.standard_normal(tail) * np.exp(-np.arange(tail) / tail * 6)
        spread = np.fft.irfft(np.fft.rfft(wave, 2 * n) * np.fft.rfft(room, 2 * n))[:n]
        wave = wave + rng.uniform(0.05, 1) * spread / (np.abs(spread).max() + 1e-9)
    if rng.random() < 0.5:
        low, high = rng.uniform(20, 300), np.exp(rng.uniform(np.log(3000), np.log(20_000)))
        wave = band(wave, low, high)
    if rng.random() < 0.3:
        wave = np.tanh(rng.uniform(1, 6) * wave / (np.abs(wave).max() + 1e-9))
    rms = np.sqrt(np.mean(wave**2)) + 1e-9
    floor = 10 ** (rng.uniform(-75, -40) / 20) * rms
    heard: Wave = wave + floor * coloured(rng, n, rng.uniform(0, 2))
    return heard


def coloured(rng: Rng, n: int, slope: float) -> Wave:
    spectrum = np.fft.rfft(rng.standard_normal(n))
    shape = np.maximum(np.fft.rfftfreq(n, 1 / RATE_HZ), 20.0) ** (-slope / 2)
    wave = np.fft.irfft(spectrum * shape, n)
    level: Wave = wave / (np.std(wave) + 1e-12)
    return level


def slow(rng: Rng, n: int, rate_hz: float) -> Wave:
    points = max(3, int(n / RATE_HZ * rate_hz))
    gusts: Wave = np.interp(
        np.linspace(0, 1, n), np.linspace(0, 1, points), rng.uniform(0, 1, points)
    )
    return gusts


def band(wave: Wave, low: float, high: float) -> Wave:
    edges = (max(low, 20.0), min(high, 0.49 * RATE_HZ))
    if edges[1] < 1.2 * edges[0]:
        edges = (edges[0], 1.2 * edges[0])
    passed: Wave = sosfilt(butter(2, edges, "bandpass", fs=RATE_HZ, output="sos"), wave)
    return passed


def added(waves: list[Wave]) -> Wave:
    total: Wave = np.sum(waves, axis=0)
    return total


def add(out: Wave, at: int, wave: Wave) -> None:
    start, stop = max(0, at), min(len(out), at + len(wave))
    if stop > start:
        out[start:stop] += wave[start - at : stop - at]


def stranger(kind: str, rng: Rng, n: int) -> Wave:
    return recorded(rng, KINDS[kind](rng, n)).astype(np.float32)


COUNTS = {
    "noise": 200, "tones": 250, "clicks": 120, "speech": 700, "singing": 400, "drums": 400,
    "sustained": 450, "mix": 400,
}  # fmt: skip
"""Windows of each kind that the check is taught on, in the order of ``KINDS``."""
