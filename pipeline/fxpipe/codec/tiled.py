"""DAC's encoder on a CPU in fp32 with 41 % of the multiplications, tile by tile in the cache.

Three things make it quicker than ``torch.nn.Conv1d`` on the same core, and none needs a compiler:

* Convolutions become products of polynomials evaluated at a few points (Toom-Cook, known as
  Winograd's minimal filtering: S. Winograd, "Arithmetic Complexity of Computations", SIAM 1980;
  A. Lavin and S. Gray, CVPR 2016): 6 outputs of a 7-tap filter cost 12 products instead of 42.
  In one dimension this loses less than two decimal digits of fp32.
* Rows are samples, columns channels. A dilated filter is then a plain one on wider rows, and a
  strided one is two taps on rows of ``stride`` samples; every product is one big matrix product.
* Layers run tile by tile, so what one writes the next reads from the cache. A snake
  ``x + sin²(αx)/α`` is ``(u + sin² u)/α`` of ``u = αx``: its α lies in the weights around it.

numpy only: a process that hears one clip has encoded it before torch is imported.
Shapes: N sample (row), C channel (column), P point, J group of rows.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

Array = np.ndarray

TILE_ELEMENTS = 2**17
"""Of one activation: half a megabyte in fp32. But 2,048 rows at least: see `_tiles`."""

LEAST_ALPHA = 1e-9
"""What dac adds to each."""

DILATIONS = (1, 3, 9)
"""Of the residual units of every block of a DAC."""

_POINTS = (0, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2), Fraction(3, 2), Fraction(-3, 2),
           Fraction(3, 4), Fraction(-3, 4))  # fmt: skip
"""In this order the error grows least; measured 8e-6 at 12 points, 2e-7 for direct sums."""


@functools.cache
def toom_cook(n_out: int, n_taps: int) -> tuple[Array, Array, Array]:
    """float64 (out [m, P], taps [P, r], data [P, P]): ``y = out ((taps g) * (data d))``.

    ``n_out`` outputs m of a filter with ``n_taps`` taps r from P = m + r - 1 inputs: P products a
    pair of channels instead of m r. Rows are scaled by powers of two so that none dominates.
    """
    n_points = n_out + n_taps - 1
    points = [Fraction(point) for point in _POINTS[: n_points - 1]]
    data = [[*_product(points[:i] + points[i + 1 :]), Fraction(0)] for i in range(len(points))]
    data.append(_product(points))
    taps = []
    for i, point in enumerate(points):
        scale = math.prod(point - other for k, other in enumerate(points) if k != i)
        taps.append([point**power / scale for power in range(n_taps)])
    taps.append([Fraction(int(power == n_taps - 1)) for power in range(n_taps)])
    out = [[*(point**row for point in points), Fraction(int(row == n_out - 1))]
           for row in range(n_out)]  # fmt: skip
    found = [np.array([[float(v) for v in row] for row in m]) for m in (out, taps, data)]
    norm = np.sqrt(np.square(found[2]).sum(1, keepdims=True))
    scale_2 = np.exp2(np.log2(norm).round())
    return found[0], found[1] * scale_2, found[2] / scale_2


def _product(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of prod (x - root), lowest power first."""
    poly = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *poly]
        poly = [a - root * b for a, b in zip(shifted, [*poly, Fraction(0)], strict=True)]
    return poly


class Filter:
    """A convolution along rows of width ``dilation * C``: ``taps`` float32 [r, C, C_out]."""

    def __init__(self, taps: Array, n_out: int, dilation: int = 1) -> None:
        self.n_out, self.dilation = n_out, dilation
        out, evaluate, data = toom_cook(n_out, len(taps))
        self.out, self.data = out.astype(np.float32), data.astype(np.float32)
        self.n_points, (n_taps, self.n_in, self.n_channels) = len(data), taps.shape
        products = evaluate @ taps.reshape(n_taps, -1).astype(np.float64)
        self.products = products.astype(np.float32).reshape(-1, *taps.shape[1:])
        self.grain = n_out * dilation

    def __call__(self, rows: Array, scratch: Scratch) -> Array:
        """Contiguous rows [N + (r - 1) dilation, C] -> [J, n_out, dilation * C_out], a view."""
        d, m, n_points = self.dilation, self.n_out, self.n_points
        width = d * self.n_in
        n_groups = (rows.shape[0] // d - (n_points - m)) // m
        strides = (4 * width, 4 * m * width, 4)
        groups = as_strided(rows, (n_points, n_groups, width), strides, writeable=False)
        copied = scratch("a", n_points, n_groups * width)
        np.copyto(copied.reshape(n_points, n_groups, width), groups)
        at_points = scratch("b", n_points, n_groups * width)
        np.matmul(self.data, copied, out=at_points)
        products = scratch("a", n_points, n_groups * d, self.n_channels)
        np.matmul(at_points.reshape(n_points, n_groups * d, -1), self.products, out=products)
        result = scratch("b", m, n_groups * d * self.n_channels)
        np.matmul(self.out, products.reshape(n_points, -1), out=result)
        return result.reshape(m, n_groups, -1).transpose(1, 0, 2)


class Scratch:
    """Named memory that is kept and grows: nothing is page-faulted afresh at every layer."""

    def __init__(self) -> None:
        self._kept: dict[str, Array] = {}

    def __call__(self, name: str, *shape: int) -> Array:
        n = math.prod(shape)
        kept = self._kept.get(name)
        if kept is None or kept.size < n:
            kept = self._kept[name] = np.empty(n, np.float32)
        return kept[:n].reshape(shape)


def _snake(u: Array, out: Array) -> None:
    """``out = u + sin² u``, in memory that is there."""
    np.sin(u, out=out)
    np.square(out, out=out)
    np.add(out, u, out=out)


@dataclass(frozen=True)
class _Unit:
    """A residual unit. ``wide`` hears the snake before it and makes u of the snake inside it."""

    wide: Filter
    bias: Array
    mix: Array
    mix_bias: Array


@dataclass(frozen=True)
class _Block:
    units: tuple[_Unit, ...]
    down: Filter
    bias: Array
    stride: int


class TiledEncoder:
    """dac's ``Encoder`` for one clip at a time: same latents to rounding.

    ``state``: its tensors by dac's own names, weight norm folded; ``rates``: its strides.
    """

    def __init__(self, state: Mapping[str, Array], rates: Sequence[int]) -> None:
        self._scratch = Scratch()
        self._blocks: list[_Block] = []
        self._alphas: list[Array] = []  # of the snakes between units, as a sample meets them
        self._first, self._first_bias = _taps(state, "block.0")[:, 0], state["block.0.bias"]
        for number, stride in enumerate(rates, start=1):
            at = f"block.{number}.block"
            units = tuple(
                self._unit(state, f"{at}.{place}.block", dilation)
                for place, dilation in enumerate(DILATIONS)
            )
            alpha = self._meet(state, f"{at}.{len(units)}")
            taps = _taps(state, f"{at}.{len(units) + 1}") / alpha[:, None]  # [2 stride, C, C_out]
            two = taps.reshape(2, stride * taps.shape[1], taps.shape[2])
            bias = state[f"{at}.{len(units) + 1}.bias"]
            self._blocks.append(_Block(units, Filter(two, 4), bias, stride))
        alpha = self._meet(state, f"block.{len(rates) + 1}")
        name = f"block.{len(rates) + 2}"
        self._last = Filter(_taps(state, name) / alpha[:, None], 4)
        self._last_bias = state[f"{name}.bias"]
        self._before = 3 * max(DILATIONS)
        self._after = 9 * max(DILATIONS) + 6 * max(rates)

    def _meet(self, state: Mapping[str, Array], name: str) -> Array:
        alpha = _alpha(state, name)
        self._alphas.append(alpha)
        return alpha

    def _unit(self, state: Mapping[str, Array], at: str, dilation: int) -> _Unit:
        before, inside = self._meet(state, f"{at}.0"), _alpha(state, f"{at}.2")
        wide = _taps(state, f"{at}.1") / before[:, None] * inside
        mix = _taps(state, f"{at}.3")[0] / inside[:, None]
        return _Unit(
            Filter(wide, 6, dilation),
            np.tile(state[f"{at}.1.bias"] * inside, dilation),
            np.ascontiguousarray(mix),
            state[f"{at}.3.bias"],
        )

    def twin(self) -> TiledEncoder:
        """The same encoder with buffers of its own, for another thread."""
        other = copy.copy(self)
        other._scratch = Scratch()
        return other

    def __call__(self, wave: Array) -> Array:
        """float32 [N], N whole hops -> latents [C, T]."""
        alphas = iter(self._alphas)
        n = len(wave)
        x, heard, spare = self._buffers("0", n, self._first.shape[1])
        inside = slice(self._before, self._before + n)
        padded = np.ascontiguousarray(sliding_window_view(np.pad(wave, 3), 7))
        np.matmul(padded, self._first, out=x[inside])
        np.add(x[inside], self._first_bias, out=x[inside])
        np.multiply(x[inside], next(alphas), out=spare[inside])
        _snake(spare[inside], heard[inside])
        for number, block in enumerate(self._blocks):
            for unit in block.units:
                self._run_unit(unit, next(alphas), x, heard, spare, n)
                heard, spare = spare, heard
            x, heard, spare = self._run_down(block, next(alphas), heard, n, str(number + 1))
            n //= block.stride
        n_padded = -(-n // self._last.n_out) * self._last.n_out
        seen = heard[self._before - 1 : self._before + n_padded + 1]
        latents = self._last(seen, self._scratch).reshape(n_padded, -1)[:n] + self._last_bias
        turned: Array = latents.T
        return turned

    def _run_unit(
        self, unit: _Unit, alpha: Array, x: Array, heard: Array, out: Array, n: int
    ) -> None:
        """``heard`` is what the snake before made of all rows; x changes in place, ``out`` is heard
        by the next layer."""
        wide, scratch, pad = unit.wide, self._scratch, 3 * unit.wide.dilation
        width = wide.n_out * wide.n_channels
        # numpy is quicker on few long rows than on many short ones
        alpha, mix_bias = np.tile(alpha, wide.n_out), np.tile(unit.mix_bias, wide.n_out)
        for first, n_rows in _tiles(n, wide.grain, wide.n_channels):
            begin = self._before + first
            found = wide(heard[begin - pad : begin + n_rows + pad], scratch)
            kept, loud = (scratch(name, n_rows, wide.n_channels) for name in "cd")
            np.add(found, unit.bias, out=kept.reshape(found.shape))
            _snake(kept, loud)
            np.matmul(loud, unit.mix, out=kept)
            rows = x[begin : begin + n_rows]
            np.add(rows, kept, out=rows)
            rows = rows.reshape(-1, width)
            np.add(rows, mix_bias, out=rows)
            u = kept.reshape(-1, width)
            np.multiply(rows, alpha, out=u)
            _snake(u, out[begin : begin + n_rows].reshape(-1, width))
        out[self._before + n :] = 0  # what lies beyond the clip is silence to every layer

    def _run_down(
        self, block: _Block, alpha: Array, heard: Array, n: int, name: str
    ) -> tuple[Array, Array, Array]:
        down, stride = block.down, block.stride
        n_out = n // stride
        x, out, spare = self._buffers(name, n_out, down.n_channels)
        start = self._before - math.ceil(stride / 2)
        for first, n_rows in _tiles(n_out, down.grain, down.n_channels):
            begin = start + first * stride
            seen = heard[begin : begin + (n_rows + 1) * stride].reshape(n_rows + 1, -1)
            found = down(seen, self._scratch)
            rows = slice(self._before + first, self._before + first + n_rows)
            np.add(found, block.bias, out=x[rows].reshape(found.shape))
            u = self._scratch("c", n_rows, down.n_channels)
            np.multiply(x[rows], alpha, out=u)
            _snake(u, out[rows])
        out[self._before + n_out :] = 0
        return x, out, spare

    def _buffers(self, name: str, n: int, n_channels: int) -> tuple[Array, Array, Array]:
        n_rows = self._before + n + self._after
        found = [self._scratch(f"{name}-{part}", n_rows, n_channels) for part in "xyz"]
        for buffer in found:
            buffer[: self._before] = 0
            buffer[self._before + n :] = 0
        return found[0], found[1], found[2]


def _tiles(n: int, grain: int, n_channels: int) -> list[tuple[int, int]]:
    """(first row, rows) of each tile; rows are whole grains, so the last may reach beyond n.

    Fewer rows would read the weights from memory too often: 12 MB in the widest layer.
    """
    rows = max(1, max(TILE_ELEMENTS // n_channels, 2048) // grain) * grain
    return [(first, min(rows, -(-(n - first) // grain) * grain)) for first in range(0, n, rows)]


def _taps(state: Mapping[str, Array], name: str) -> Array:
    """[r, C, C_out] of a Conv1d's weight [C_out, C, r]."""
    return np.ascontiguousarray(state[f"{name}.weight"].transpose(2, 1, 0))


def _alpha(state: Mapping[str, Array], name: str) -> Array:
    """α [C] of a snake; never zero, where a snake is a plain wire."""
    alpha = state[f"{name}.alpha"].reshape(-1)
    return np.where(np.abs(alpha) < LEAST_ALPHA, np.float32(LEAST_ALPHA), alpha)
