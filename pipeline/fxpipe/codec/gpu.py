"""Encoding on a GPU: fixed batches, copies beside the arithmetic, a cap on memory.

The encoder runs in fp16, bf16, tf32 or fp32, channels last; the quantiser in IEEE fp32 always.
Codes in low precision depend on the shape of the batch, so the batch is fixed, the last one is
filled up with silence, and what it was is written down. Shapes: B batch, C channel, N sample.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fxpipe.codec import How, gpu_fused
from fxpipe.codec.cpu import finite
from fxpipe.codec.dac import snake
from fxpipe.errors import CodecError

BATCH = 32
"""Clips in one forward: fixed unless memory is short."""

CHANNELS_LAST, DAC_LAYERS, COMPILED = "channels last", "dac's layers", "channels last, compiled"
UNITS = "residual units as one kernel each"
"""Ways through the same filters, which differ in the last digits only."""
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
GB = 10**9


class GpuForward:
    """float32 [B, N] on the host -> codes [B, K, T] on the host, in batches of ``batch``.

    ``device`` may be a CPU: the same logic without streams, for tests.
    """

    def __init__(
        self,
        encoder: nn.Module,
        quantizer: nn.Module,
        *,
        device: torch.device,
        precision: str,
        how: How,
        batch: int | None = None,
    ) -> None:
        self._device, self._precision = device, precision
        self._dtype = DTYPES.get(precision, torch.float32)
        self._quicker: dict[str, Callable[[Tensor], Tensor]] = {}
        if how.fused and device.type == "cuda":
            self._quicker = self.compiled(encoder)
        self._encoder = encoder.to(device, self._dtype)
        self._quantizer = quantizer.to(device)
        self.layers = DAC_LAYERS if how.exact else ""  # chosen on the first batch
        self._max_bytes = None if how.max_vram_gb is None else int(how.max_vram_gb * GB)
        self.batch = batch or BATCH
        self.batches_used: set[int] = set()
        self._sized = batch is not None or self._max_bytes is None
        self._copies: Any = None
        if device.type == "cuda":
            # cuDNN's own guess took 0.3 s for one filter of dac's.
            torch.backends.cudnn.benchmark = True
            self._copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            if self._max_bytes is not None:
                total = torch.cuda.get_device_properties(device).total_memory
                torch.cuda.set_per_process_memory_fraction(
                    min(1.0, self._max_bytes / total), device
                )

    @property
    def name(self) -> str:
        cuda = self._device.type == "cuda"
        return torch.cuda.get_device_name(self._device) if cuda else str(self._device)

    @property
    def peak_bytes(self) -> int:
        """Most memory that torch held on the device."""
        if self._device.type != "cuda":
            return 0
        return int(torch.cuda.max_memory_reserved(self._device))

    def __call__(self, audio: np.ndarray | Tensor, n_padded: int) -> Tensor:
        if not self._sized:
            self.batch = self._batch_that_fits(n_padded)
            self._sized = True
        done: list[Tensor] = []
        first = 0
        with self._here():
            while first < len(audio):
                try:
                    done += self._run(audio[first:], n_padded)
                    first = len(audio)
                except _OutOfMemoryAt as short:
                    done += short.finished
                    first += sum(len(codes) for codes in short.finished)
                    self._halve()
        return torch.cat(done)

    def _run(self, audio: np.ndarray | Tensor, n_padded: int) -> list[Tensor]:
        """All of ``audio`` in batches of one size; what is finished survives running out."""
        pending: list[tuple[Tensor, int]] = []
        feeder = _Feeder(self._device, self.batch, n_padded, self._copies)
        try:
            if not self.layers:
                self.layers = self._faster_layers(n_padded)
            for begin in range(0, len(audio), self.batch):
                clips = audio[begin : begin + self.batch]
                codes = self._forward(feeder.put(clips))
                pending.append((_to_host(codes), len(clips)))
        except torch.OutOfMemoryError:
            del feeder
            raise _OutOfMemoryAt(self._finish(pending)) from None
        return self._finish(pending)

    def _finish(self, pending: list[tuple[Tensor, int]]) -> list[Tensor]:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        if pending:
            self.batches_used.add(self.batch)
        return [codes[:n] for codes, n in pending]

    def _forward(self, batch: Tensor) -> Tensor:
        latents = self._latents(batch, self.layers)
        with fp32_arithmetic("ieee"):
            codes: Tensor = self._quantizer(latents.float().contiguous())[1]
        return codes.to(torch.int32)

    def _latents(self, batch: Tensor, layers: str) -> Tensor:
        with fp32_arithmetic("tf32" if self._precision == "tf32" else "ieee"):
            if layers in self._quicker:
                return self._quicker[layers](batch)
            x = batch[:, None].to(self._dtype)
            if layers == DAC_LAYERS:
                return self._encoder(x)  # type: ignore[no-any-return]
            return self._channels_last(x)

    def compiled(self, encoder: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
        """Waves [B, N] to latents: our own kernels where this GPU has what they are made for, else
        what torch compiles. ``encoder`` is fp32 still: filters, but not snakes, are rounded."""
        if self._dtype != torch.float32 and gpu_fused.available(self._device):
            with contextlib.suppress(gpu_fused.UnsupportedError):
                return {UNITS: gpu_fused.FusedEncoder(encoder, self._dtype, self._device)}
        whole = torch.compile(self._channels_last, dynamic=False)
        return {COMPILED: lambda wave: whole(wave[:, None].to(self._dtype))}

    def _channels_last(self, x: Tensor) -> Tensor:
        return channels_last(self._encoder, x[:, :, None])[:, :, 0]

    def _faster_layers(self, n_padded: int) -> str:
        """The fastest way through the filters on this GPU, measured on a batch of silence.

        On a CPU, which only tests use, nothing is measured.
        """
        if self._device.type != "cuda":
            return CHANNELS_LAST
        batch = torch.zeros(self.batch, n_padded, device=self._device)
        seconds = {layers: self._seconds(batch, layers) for layers in (CHANNELS_LAST, DAC_LAYERS)}
        for layers in self._quicker:
            with contextlib.suppress(Exception):  # dynamo, Triton, the driver raise what they like
                seconds[layers] = self._seconds(batch, layers)
        return min(seconds, key=lambda layers: seconds[layers])

    def _seconds(self, batch: Tensor, layers: str) -> float:
        """Of the third run: the first ones choose and compile kernels."""
        for _ in range(3):
            torch.cuda.synchronize(self._device)
            began = time.perf_counter()
            self._latents(batch, layers)
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - began

    def _halve(self) -> None:
        if self.batch == 1:
            raise CodecError(
                "the GPU has no memory for a single clip; give --max-vram more room, close what "
                "else runs on it, or leave --gpu away"
            )
        self.batch //= 2
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _batch_that_fits(self, n_padded: int) -> int:
        """Measured on one and on two clips; whatever else is held counts as fixed."""
        assert self._max_bytes is not None
        peaks = [self._peak_of(n, n_padded) for n in (1, 2)]
        return batch_under(self._max_bytes, peaks[0], peaks[1])

    def _peak_of(self, n_clips: int, n_padded: int) -> int:
        if self._device.type != "cuda":
            raise CodecError("memory can be measured on a CUDA device only")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self._device)
        try:
            with self._here():
                self._forward(torch.zeros(n_clips, n_padded, device=self._device))
        except torch.OutOfMemoryError:
            return GB * 10**6
        torch.cuda.synchronize(self._device)
        return int(torch.cuda.max_memory_reserved(self._device))

    def _here(self) -> contextlib.AbstractContextManager[Any]:
        cuda = self._device.type == "cuda"
        return torch.cuda.device(self._device) if cuda else contextlib.nullcontext()


class _OutOfMemoryAt(Exception):  # noqa: N818 - caught above; not an error of ours
    def __init__(self, finished: list[Tensor]) -> None:
        self.finished = finished


def batch_under(max_bytes: int, peak_of_one: int, peak_of_two: int) -> int:
    """The largest power of two up to `BATCH` whose memory stays below nine tenths of the cap."""
    a_clip = max(1, peak_of_two - peak_of_one)
    room = int(0.9 * max_bytes) - (peak_of_one - a_clip)
    batch = BATCH
    while batch > 1 and batch * a_clip > room:
        batch //= 2
    return batch


class _Feeder:
    """Two page-locked buffers in turn: one is filled and copied while the GPU works on the other's
    clips."""

    def __init__(self, device: torch.device, batch: int, n_samples: int, stream: Any) -> None:
        self._device, self._stream, self._turn = device, stream, 0
        cuda = device.type == "cuda"
        self._hosts = [torch.zeros(batch, n_samples, pin_memory=cuda) for _ in range(2)]
        self._copied: list[Any] = [None, None]

    def put(self, clips: np.ndarray | Tensor) -> Tensor:
        """Clips on the device, filled up with silence; the current stream waits for the copy."""
        if isinstance(clips, Tensor):
            room = self._hosts[0].new_zeros(self._hosts[0].shape, device=self._device)
            room[: len(clips), : clips.shape[1]] = finite(clips)
            return room
        host, turn = self._hosts[self._turn], self._turn
        self._turn = 1 - turn
        if self._copied[turn] is not None:
            self._copied[turn].synchronize()
        host.zero_()
        host[: len(clips), : clips.shape[1]] = torch.from_numpy(finite(clips))
        if self._device.type != "cuda":
            return host.clone()
        with torch.cuda.stream(self._stream):
            there = host.to(self._device, non_blocking=True)
            self._copied[turn] = self._stream.record_event()
        now = torch.cuda.current_stream(self._device)
        now.wait_event(self._copied[turn])
        there.record_stream(now)
        return there


def _to_host(codes: Tensor) -> Tensor:
    if codes.device.type != "cuda":
        return codes
    host = torch.empty(codes.shape, dtype=codes.dtype, pin_memory=True)
    return host.copy_(codes, non_blocking=True)


def channels_last(module: nn.Module, x: Tensor) -> Tensor:
    """dac's encoder on [B, C, 1, N] in channels-last memory, the layout tensor cores read."""
    if isinstance(module, nn.Conv1d) and module.in_channels == 1:
        return _first_conv(module, x[:, 0, 0])
    if isinstance(module, nn.Conv1d):
        weight = module.weight[:, :, None].contiguous(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
        return nn.functional.conv2d(
            x, weight, module.bias, (1, *module.stride), (0, int(module.padding[0])),
            (1, *module.dilation),
        )  # fmt: skip
    if hasattr(module, "alpha"):
        return snake(x, module.get_parameter("alpha")[..., None])
    y = x
    for child in module.children():
        y = channels_last(child, y)
    return x + y if type(module).__name__ == "ResidualUnit" else y


def _first_conv(conv: nn.Conv1d, wave: Tensor) -> Tensor:
    """[B, N] -> [B, C, 1, N], channels last: as a matrix product, for one channel in is no layout
    that tensor cores read."""
    assert conv.bias is not None
    around = nn.functional.pad(wave, (int(conv.padding[0]),) * 2)
    windows = around.unfold(1, conv.kernel_size[0], conv.stride[0])  # [B, N, kernel]
    frames = nn.functional.linear(windows, conv.weight[:, 0], conv.bias)
    return frames.transpose(1, 2)[:, :, None]


@contextlib.contextmanager
def fp32_arithmetic(kind: str) -> Iterator[None]:
    """What fp32 means in cuDNN and cuBLAS: ``ieee`` or ``tf32``; given back afterwards.

    torch's default for convolutions is tf32: fp32 would not be fp32.
    """
    places: list[Any] = [torch.backends.cuda.matmul, getattr(torch.backends.cudnn, "conv", None)]
    if all(hasattr(place, "fp32_precision") for place in places):
        before = [place.fp32_precision for place in places]
        try:
            for place in places:
                place.fp32_precision = kind
            yield
        finally:
            for place, value in zip(places, before, strict=True):
                place.fp32_precision = value
        return
    older: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]  # torch before 2.9
    flags = [place.allow_tf32 for place in older]
    try:
        for place in older:
            place.allow_tf32 = kind == "tf32"
        yield
    finally:
        for place, flag in zip(older, flags, strict=True):
            place.allow_tf32 = flag
