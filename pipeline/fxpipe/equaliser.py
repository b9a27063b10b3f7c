"""Second-order sections [b0, b1, b2, 1, a1, a2], for ``scipy.signal.sosfilt``.

R. Bristow-Johnson, "Cookbook formulae for audio EQ biquad filter coefficients"; shelves of slope 1;
``w`` in radians a sample.
"""

from __future__ import annotations

import math


def shelf(w: float, gain_db: float, *, low: bool) -> list[float]:
    a, cos, sign = 10 ** (gain_db / 40), math.cos(w), 1 if low else -1
    rise = 2 * math.sqrt(a) * math.sin(w) / math.sqrt(2)
    plus, minus, turned = a + 1, sign * (a - 1) * cos, sign * (a - 1)
    zeros = plus - minus + rise, 2 * (turned - plus * cos), plus - minus - rise
    poles = plus + minus + rise, -2 * (turned + plus * cos), plus + minus - rise
    return _section((a * zeros[0], a * zeros[1], a * zeros[2]), poles)


def bell(w: float, gain_db: float, q: float = 0.8) -> list[float]:
    a, alpha, cos = 10 ** (gain_db / 40), math.sin(w) / (2 * q), math.cos(w)
    return _section(
        (1 + alpha * a, -2 * cos, 1 - alpha * a), (1 + alpha / a, -2 * cos, 1 - alpha / a)
    )


def lowpass(w: float, q: float) -> list[float]:
    alpha, cos = math.sin(w) / (2 * q), math.cos(w)
    return _section(((1 - cos) / 2, 1 - cos, (1 - cos) / 2), (1 + alpha, -2 * cos, 1 - alpha))


def highpass(w: float, q: float) -> list[float]:
    alpha, cos = math.sin(w) / (2 * q), math.cos(w)
    return _section(((1 + cos) / 2, -1 - cos, (1 + cos) / 2), (1 + alpha, -2 * cos, 1 - alpha))


def _section(b: tuple[float, float, float], a: tuple[float, float, float]) -> list[float]:
    return [value / a[0] for value in (*b, *a)]
