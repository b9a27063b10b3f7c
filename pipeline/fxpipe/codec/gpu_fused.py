"""dac's encoder on a GPU's tensor cores: one kernel for a residual unit, and no pass besides.

Activations lie as [B, N, C]. Whoever makes a layer's output writes it twice where both are read
later: raw, for the sum at the end of a residual unit, and behind the next layer's snake, which is
what its convolution reads; so the inner loops are plain matrix products. Channels are filled up
with zeros to a multiple of `WIDTH`. Shapes: B batch, C channel, N sample.

Method: L. Ziyin et al., "Neural Networks Fail to Learn Periodic Functions", NeurIPS 2020 (snake).
"""
# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: N803 - sizes known when a kernel is compiled are upper case in Triton

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

try:
    import triton
    import triton.language as tl
    from triton.tools.tensor_descriptor import TensorDescriptor
except ImportError:  # without a GPU's build of torch
    triton = tl = None

WIDTH = 32
"""Channels are filled up to a multiple of it."""
SINE_UNIT = True
"""The hardware's sine (2^-20.5) instead of a polynomial (2^-22): half the instructions."""

Key = tuple[str, int, int, int]
Tile = tuple[int, int, int, int, int, int, int]

# (kind, C in, C out, taps): samples, channels out, channels in at a time; warps, stages; 1 for
# loads by the tensor memory accelerator (stride 1 only), plus 2 for a unit that reads early what it
# adds; most registers a thread (0: no limit). Of a unit, the channels out are those of its second
# product at a time; None: its convolutions apart.
# TILES BEGIN (written by tests/bench/tune_tiles.py)
TILES: dict[Key, Tile | None] = {
    ("first", 1, 64, 7): (64, 64, 0, 4, 1, 0, 0),
    ("unit", 64, 64, 7): (128, 64, 64, 4, 2, 1, 0),
    ("conv", 64, 128, 4): (128, 128, 64, 4, 3, 0, 0),
    ("unit", 128, 128, 7): (128, 64, 64, 8, 3, 1, 128),
    ("conv", 128, 256, 8): (128, 128, 64, 4, 3, 0, 0),
    ("unit", 256, 256, 7): None,
    ("conv", 256, 256, 7): (128, 256, 64, 8, 4, 1, 0),
    ("conv", 256, 256, 1): (128, 128, 64, 4, 3, 0, 0),
    ("conv", 256, 512, 16): (128, 256, 64, 8, 3, 0, 0),
    ("unit", 512, 512, 7): None,
    ("conv", 512, 512, 7): (256, 128, 64, 8, 4, 1, 0),
    ("conv", 512, 512, 1): (128, 128, 64, 8, 3, 0, 0),
    ("conv", 512, 1024, 16): (64, 256, 64, 8, 4, 0, 0),
    ("conv", 1024, 1024, 3): (64, 256, 64, 8, 4, 0, 0),
}
# TILES END


class UnsupportedError(ValueError):
    """A layer that is not one of dac's encoder."""


def available(device: torch.device) -> bool:
    """Whether Triton is here, and ``device`` a GPU whose tensor cores the tiles are made for."""
    cuda = triton is not None and torch.cuda.is_available()
    return cuda and torch.cuda.get_device_capability(device)[0] == 9


def default_tile(key: Key) -> Tile | None:
    """For shapes that nobody tuned: small enough for every GPU with 100 KB of shared memory."""
    kind, c_in, c_out, _ = key
    if kind == "first":
        return 64, math.gcd(c_out, 64), 0, 4, 1, 0, 0
    if kind == "unit":
        return (64, c_out, 32, 4, 2, 0, 0) if c_out in (32, 64, 128) else None
    return 64, math.gcd(c_out, 128), math.gcd(c_in, 64), 4, 3, 0, 0


def _jit(function: Any) -> Any:
    """Not compiled anew for every length of clips."""
    lengths = ["n_in", "n_out"]
    return function if triton is None else triton.jit(function, do_not_specialize=lengths)


@_jit
def _snake(x, scale, inverse, SINE: tl.constexpr):
    """x + sin²(αx)/α in fp32 from α/π and 1/α: 11 instructions by polynomial, 5 by SINE."""
    if SINE:
        sine = tl.inline_asm_elementwise(
            "sin.approx.ftz.f32 $0, $1;", "=f,f", [x * (scale * 3.14159265358979)],
            dtype=tl.float32, is_pure=True, pack=1,
        )  # fmt: skip
        return x + sine * sine * inverse
    turns = x * scale
    turns -= (turns + 12582912.0) - 12582912.0  # to the nearest whole: 1.5 * 2^23
    u = turns * turns
    q = 12.990730285644531 - 3.2729456424713135 * u  # max abs error 2e-7 in fp32
    q = q * u - 30.085952758789062
    q = q * u + 42.72538375854492
    q = q * u - 32.469581604003906
    q = q * u + 9.869603157043457
    return x + q * u * inverse


@_jit
def _emit(value, start, at, live, co, x_out, h_out, scale, inverse, SINE: tl.constexpr):
    """A block of output where it is wanted: raw, behind the next snake, or both."""
    if x_out is not None:
        tl.store(x_out + start + at, value.to(x_out.dtype.element_ty), mask=live)
    if h_out is not None:
        after = _snake(value, tl.load(scale + co)[None, :], tl.load(inverse + co)[None, :], SINE)
        tl.store(h_out + start + at, after.to(h_out.dtype.element_ty), mask=live)


@_jit
def _product(
    source, clip, weight, n_in, t0, first_co,
    C_IN: tl.constexpr, C_OUT: tl.constexpr, TAPS: tl.constexpr, STRIDE: tl.constexpr,
    DILATION: tl.constexpr, PADDING: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr, TMA: tl.constexpr,
):  # fmt: skip
    """float32 [BM, BN] of a convolution. Every tap reads its own block of samples from L2, for
    which BN = C_OUT is small at the first levels: 64 bytes a cycle at full rate with C = 64."""
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    t = t0 + tl.arange(0, BM)
    k = tl.arange(0, BK)
    co = first_co + tl.arange(0, BN)
    per_tap: tl.constexpr = C_IN // BK
    for i in range(TAPS * per_tap):
        first = (i // per_tap) * DILATION - PADDING
        c0 = (i % per_tap) * BK
        if TMA:  # fills with zeros around the clip
            a = source.load([clip, t0 + first, c0]).reshape(BM, BK)
            w = weight.load([i * BK, first_co])
        else:
            n = t * STRIDE + first
            within = (n >= 0) & (n < n_in)
            a = tl.load(source + n[:, None] * C_IN + (c0 + k)[None, :], mask=within[:, None],
                        other=0.0)  # fmt: skip
            w = tl.load(weight + (i * BK + k)[:, None] * C_OUT + co[None, :])
        acc = tl.dot(a, w, acc)
    return acc


@_jit
def _conv(
    source, weight, bias, residual, x_out, h_out, scale, inverse, n_in, n_out,
    C_IN: tl.constexpr, C_OUT: tl.constexpr, TAPS: tl.constexpr, STRIDE: tl.constexpr,
    DILATION: tl.constexpr, PADDING: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    BK: tl.constexpr, TMA: tl.constexpr, SINE: tl.constexpr,
):  # fmt: skip
    """One convolution, plus ``residual``. Bound by the tensor cores where C is 256 or more. Blocks
    of channels of the same samples run side by side, for these to stay in L2."""
    clip = tl.program_id(1)
    t0 = tl.program_id(0) // (C_OUT // BN) * BM
    first_co = tl.program_id(0) % (C_OUT // BN) * BN
    if not TMA:
        source += clip.to(tl.int64) * n_in * C_IN
    acc = _product(source, clip, weight, n_in, t0, first_co, C_IN, C_OUT, TAPS, STRIDE, DILATION,
                   PADDING, BM, BN, BK, TMA)  # fmt: skip
    t = t0 + tl.arange(0, BM)
    co = first_co + tl.arange(0, BN)
    live = (t < n_out)[:, None]
    start = clip.to(tl.int64) * n_out * C_OUT
    at = t[:, None] * C_OUT + co[None, :]
    acc += tl.load(bias + co)[None, :]
    if residual is not None:
        acc += tl.load(residual + start + at, mask=live, other=0.0).to(tl.float32)
    _emit(acc, start, at, live, co, x_out, h_out, scale, inverse, SINE)


@_jit
def _unit(
    source, weight, bias, scale_mid, inverse_mid, weight_1, bias_1, residual, x_out, h_out, scale,
    inverse, n_in, C: tl.constexpr, TAPS: tl.constexpr, DILATION: tl.constexpr,
    PADDING: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
    TMA: tl.constexpr, EARLY: tl.constexpr, SINE: tl.constexpr,
):  # fmt: skip
    """A residual unit: both convolutions of all C channels, the block between them in registers.
    With C = 64 the two snakes cost as many cycles as the products, so several blocks share an
    SM; with C = 256 registers are what is short."""
    clip = tl.program_id(1)
    t0 = tl.program_id(0) * BM
    if not TMA:
        source += clip.to(tl.int64) * n_in * C
    acc = _product(source, clip, weight, n_in, t0, 0, C, C, TAPS, 1, DILATION, PADDING,
                   BM, C, BK, TMA)  # fmt: skip
    c = tl.arange(0, C)
    acc += tl.load(bias + c)[None, :]
    acc = _snake(acc, tl.load(scale_mid + c)[None, :], tl.load(inverse_mid + c)[None, :], SINE)
    middle = acc.to(weight_1.dtype.element_ty)
    t = t0 + tl.arange(0, BM)
    live = (t < n_in)[:, None]
    start = clip.to(tl.int64) * n_in * C
    for first_co in tl.static_range(0, C, BN):
        co = first_co + tl.arange(0, BN)
        at = t[:, None] * C + co[None, :]
        if EARLY:  # on its way during the product, for more registers
            x = tl.load(residual + start + at, mask=live, other=0.0)
        out = tl.dot(middle, tl.load(weight_1 + c[:, None] * C + co[None, :]))
        out += tl.load(bias_1 + co)[None, :]
        if not EARLY:
            x = tl.load(residual + start + at, mask=live, other=0.0)
        out += x.to(tl.float32)
        _emit(out, start, at, live, co, x_out, h_out, scale, inverse, SINE)


@_jit
def _first(
    wave, weight, bias, x_out, h_out, scale, inverse, n_in, n_out, C_OUT: tl.constexpr,
    TAPS: tl.constexpr, PADDING: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr,
    SINE: tl.constexpr,
):  # fmt: skip
    """The convolution of the wave itself, in fp32: bound by what it writes."""
    clip = tl.program_id(1)
    t = tl.program_id(0) // (C_OUT // BN) * BM + tl.arange(0, BM)
    co = tl.program_id(0) % (C_OUT // BN) * BN + tl.arange(0, BN)
    wave += clip.to(tl.int64) * n_in
    acc = tl.zeros((BM, BN), dtype=tl.float32) + tl.load(bias + co)[None, :]
    for tap in tl.static_range(TAPS):
        n = t + (tap - PADDING)
        value = tl.load(wave + n, mask=(n >= 0) & (n < n_in), other=0.0).to(tl.float32)
        acc += value[:, None] * tl.load(weight + tap * C_OUT + co)[None, :]
    start = clip.to(tl.int64) * n_out * C_OUT
    at = t[:, None] * C_OUT + co[None, :]
    _emit(acc, start, at, (t < n_out)[:, None], co, x_out, h_out, scale, inverse, SINE)


@dataclass
class Snake:
    """α/π and 1/α, float32 [C]; α as dac adds to it before it divides."""

    scale: Tensor
    inverse: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """The reference, on [B, N, C]."""
        sine = torch.sin(x.float() * (self.scale * math.pi))
        return (x.float() + sine.square() * self.inverse).to(x.dtype)


@dataclass
class Conv:
    """``weight`` [taps * C in, C out]; its input is behind a snake if the one before left one."""

    weight: Tensor
    bias: Tensor
    taps: int
    stride: int
    dilation: int
    padding: int

    @property
    def channels(self) -> tuple[int, int]:
        return self.weight.shape[0] // self.taps, self.weight.shape[1]

    def n_out(self, n_in: int) -> int:
        return (n_in + 2 * self.padding - self.dilation * (self.taps - 1) - 1) // self.stride + 1

    def __call__(self, x: Tensor) -> Tensor:
        """The reference, on [B, N, C]."""
        weight = self.weight.view(self.taps, *self.channels).permute(2, 1, 0).to(x.dtype)
        y = nn.functional.conv1d(
            x.transpose(1, 2), weight, self.bias.to(x.dtype), self.stride, self.padding,
            self.dilation,
        )  # fmt: skip
        return y.transpose(1, 2)


@dataclass
class Step:
    """A convolution or a residual unit, and what is kept of its output."""

    kind: str  # first, conv or unit
    conv: Conv
    middle: Snake | None = None  # a unit's, between its convolutions
    second: Conv | None = None
    raw: bool = True
    after: Snake | None = None

    @property
    def key(self) -> Key:
        return self.kind, *self.conv.channels, self.conv.taps

    def flop(self, n_in: int) -> int:
        """Of one clip."""
        convs = [self.conv] if self.second is None else [self.conv, self.second]
        return sum(2 * conv.n_out(n_in) * conv.weight.numel() for conv in convs)


class FusedEncoder:
    """dac's encoder as a list of steps: wave [B, N] -> latents [B, C, T] in ``dtype``.

    Weight norm must have been folded. Raises UnsupportedError on layers other than dac's.
    """

    def __init__(self, encoder: nn.Module, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self.steps: list[Step] = []
        self._snake: Snake | None = None
        self._n_latent = 0
        self._walk(encoder)
        if self._snake is not None or not self.steps or self.steps[0].kind != "first":
            raise UnsupportedError("an encoder begins and ends with a convolution")
        for step, following in zip(self.steps, self.steps[1:], strict=False):
            step.raw = following.kind == "unit" or step.after is None  # the last one's stays True

    def __call__(self, wave: Tensor) -> Tensor:
        """The latents are a view of [B, T, C]."""
        raw = hidden = wave.contiguous()
        for step in self.steps:
            raw, hidden = self.run(step, raw, hidden)
        return raw[..., : self._n_latent].transpose(1, 2)

    def reference(self, wave: Tensor) -> Tensor:
        """The same steps by torch alone, on any device."""
        raw = hidden = wave.to(self.dtype)[..., None]
        for step in self.steps:
            out = step.conv(hidden)
            if step.middle is not None and step.second is not None:
                out = raw + step.second(step.middle(out))
            raw, hidden = out, out if step.after is None else step.after(out)
        return raw[..., : self._n_latent].transpose(1, 2)

    def run(self, step: Step, raw: Any, hidden: Any, *, warm: bool = False) -> tuple[Any, Any]:
        """(raw, behind the snake) of a step, from those before it; ``warm``: only compile it."""
        tile = TILES.get(step.key, default_tile(step.key))
        if tile is not None or step.middle is None or step.second is None:
            return self._launch(step, tile, raw if step.second else None, hidden, warm)
        for part, added in (
            (Step("conv", step.conv, raw=False, after=step.middle), None),
            (Step("conv", step.second, raw=step.raw, after=step.after), raw),
        ):
            tile = TILES.get(part.key, default_tile(part.key))
            raw, hidden = self._launch(part, tile, added, hidden, warm)
        return raw, hidden

    def _launch(
        self, step: Step, tile: Tile | None, added: Tensor | None, source: Tensor, warm: bool
    ) -> tuple[Any, Any]:
        assert tile is not None
        bm, bn, bk, warps, stages, how, registers = tile
        conv, after = step.conv, step.after
        (c_in, c_out), n_clips, n_in = conv.channels, len(source), source.shape[1]
        n_out = conv.n_out(n_in)
        if n_out < 1 or max(n_in * c_in, n_out * c_out) >= 2**31:
            raise UnsupportedError(f"clips of {n_in} samples")
        x = self._empty(n_clips, n_out, c_out) if step.raw else None
        h = None if after is None else self._empty(n_clips, n_out, c_out)
        tail = (x, h, after and after.scale, after and after.inverse)
        sizes: dict[str, Any] = {"TAPS": conv.taps, "PADDING": conv.padding, "BM": bm, "BN": bn}
        sizes |= {"SINE": SINE_UNIT and os.environ.get("TRITON_INTERPRET") != "1"}
        blocks = -(-n_out // bm) * (1 if step.kind == "unit" else c_out // bn)
        weight: Any = conv.weight
        args: tuple[Any, ...]
        read: Any = source
        if step.kind == "first":
            kernel, args = _first, (source, weight, conv.bias, *tail, n_in, n_out)
            sizes |= {"C_OUT": c_out}
        else:
            sizes |= {"BK": bk, "DILATION": conv.dilation, "TMA": bool(how & 1)}
            if how & 1:
                assert conv.stride == 1
                columns = c_out if step.kind == "unit" else bn
                read = TensorDescriptor.from_tensor(source, [1, bm, bk])
                weight = TensorDescriptor.from_tensor(weight, [bk, columns])
            if step.middle is not None and step.second is not None:
                second, middle = step.second, step.middle
                between = (middle.scale, middle.inverse, second.weight, second.bias)
                kernel, args = _unit, (read, weight, conv.bias, *between, added, *tail, n_in)
                sizes |= {"C": c_out, "EARLY": bool(how & 2)}
            else:
                kernel, args = _conv, (read, weight, conv.bias, added, *tail, n_in, n_out)
                sizes |= {"C_IN": c_in, "C_OUT": c_out, "STRIDE": conv.stride}
        sizes |= {"num_warps": warps, "num_stages": stages, "maxnreg": registers or None}
        if warm:
            self.compiled = kernel.warmup(*args, grid=(1,), **sizes)
        else:
            kernel[(blocks, n_clips)](*args, **sizes)
        return x, x if h is None else h

    def _empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=self.dtype, device=self.device)

    def _walk(self, module: nn.Module) -> None:
        """Append what ``module`` does to the steps, or to the last one's snake."""
        if isinstance(module, nn.Conv1d):
            conv, first = self._conv(module), module.in_channels == 1 and not self.steps
            self._append(Step("first" if first else "conv", conv))
        elif hasattr(module, "alpha"):
            if self._snake is not None or not self.steps:
                raise UnsupportedError("a snake behind no convolution")
            self._snake = self._snake_of(module)
        elif type(module).__name__ == "ResidualUnit":
            layers = [layer for layer in module.modules() if not list(layer.children())]
            if [hasattr(layer, "alpha") for layer in layers] != [True, False, True, False]:
                raise UnsupportedError("a residual unit of other layers than dac's")
            self._walk(layers[0])
            conv, second = self._conv(layers[1]), self._conv(layers[3])
            same = conv.channels[0] == conv.channels[1] == second.channels[0] == second.channels[1]
            if not same or second.taps != 1 or conv.n_out(100) != 100 or second.n_out(9) != 9:
                raise UnsupportedError("a residual unit that changes the shape")
            self._append(Step("unit", conv, self._snake_of(layers[2]), second))
        else:
            for child in module.children():
                self._walk(child)

    def _append(self, step: Step) -> None:
        if self.steps:
            self.steps[-1].after, self._snake = self._snake, None
        self.steps.append(step)

    def _conv(self, conv: nn.Module) -> Conv:
        if not isinstance(conv, nn.Conv1d) or isinstance(conv.padding, str) or conv.groups != 1:
            raise UnsupportedError(f"{conv}: not dac's kind of convolution")
        first = conv.in_channels == 1 and not self.steps
        strided = first and (conv.stride[0] != 1 or conv.dilation[0] != 1)
        if conv.bias is None or conv.padding_mode != "zeros" or strided:
            raise UnsupportedError(f"{conv}: without bias or zeros around, or strided on the wave")
        dtype = torch.float32 if first else self.dtype
        c_in, c_out = 1 if first else _filled(conv.in_channels), _filled(conv.out_channels)
        weight = torch.zeros(conv.kernel_size[0], c_in, c_out)
        weight[:, : conv.in_channels, : conv.out_channels] = conv.weight.detach().permute(2, 1, 0)
        bias = nn.functional.pad(conv.bias.detach().float(), (0, c_out - conv.out_channels))
        self._n_latent = conv.out_channels
        packed = weight.view(-1, c_out).to(self.device, dtype), bias.to(self.device)
        return Conv(*packed, len(weight), conv.stride[0], conv.dilation[0], conv.padding[0])

    def _snake_of(self, module: nn.Module) -> Snake:
        alpha = module.get_parameter("alpha").detach().float().flatten().cpu()
        filled = nn.functional.pad(alpha, (0, _filled(len(alpha)) - len(alpha)), value=1.0)
        inverse = (filled + 1e-9).reciprocal()
        return Snake((filled / math.pi).to(self.device), inverse.to(self.device))


def _filled(n_channels: int) -> int:
    return -(-n_channels // WIDTH) * WIDTH
