"""A checkpoint made ready to encode: which device, which arithmetic, and the codec itself.

fp32 on a CPU is `fxpipe.codec.cpu`'s, which knows no torch; here is the rest, and what unpickles.

Shapes: B batch, K codebook, T frame, N audio sample.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fxpipe.codec import Codec, How
from fxpipe.codec.cpu import CpuCodec, check_audio, codec_info, finite
from fxpipe.codec.dac import load_encoder, read_checkpoint
from fxpipe.codec.gpu import CHANNELS_LAST, COMPILED, DAC_LAYERS, GpuForward, channels_last
from fxpipe.errors import CodecError
from fxtrain.contract import CodecInfo

Forward = Callable[[Any, int], Tensor]
"""float32 [B, N] and what N is padded to, whole hops -> codes [B, K, T]."""


class DacCodec:
    """A DAC encoder and residual quantiser, ready to encode. Made by `open_codec`."""

    def __init__(
        self,
        model: nn.Module,
        info: CodecInfo,
        *,
        device: torch.device,
        n_threads: int | None = None,
        how: How | None = None,
    ) -> None:
        self.info = info
        self._n_threads = n_threads
        self._how = how = how or How()
        self._one_at_a_time = threading.Lock()
        encoder, quantizer = model.get_submodule("encoder"), model.get_submodule("quantizer")
        self.codebooks: np.ndarray = np.stack(
            [
                quantizer.get_parameter(f"quantizers.{k}.codebook.weight").numpy()
                for k in range(info.n_codebooks)
            ]
        )
        self.gpu: GpuForward | None = None
        self._forward: Forward
        if device.type == "cuda":
            self.gpu = GpuForward(
                encoder, quantizer, device=device, precision=info.precision, how=how
            )
            self._forward = self.gpu
        else:
            self._forward = cpu_forward(encoder, quantizer, info.precision, how)

    @property
    def arithmetic(self) -> str:
        """How and where it is done, for the record: what may change a code's last digit."""
        if self.gpu is not None:
            batches = " and ".join(map(str, sorted(self.gpu.batches_used)))
            return f"{self.info.precision}, {self.gpu.layers}, batch {batches}, on {self.gpu.name}"
        layers = DAC_LAYERS
        if self.info.precision == "bf16":
            layers = COMPILED if self._how.fused else CHANNELS_LAST
        capability = torch.backends.cpu.get_cpu_capability()
        return f"{self.info.precision}, {layers}, on a CPU with {capability}"

    def usage(self) -> dict[str, tuple[int, ...]]:
        """On a GPU: the batches that were run, and the most memory held, in bytes."""
        if self.gpu is None:
            return {}
        return {
            "batches": tuple(sorted(self.gpu.batches_used)),
            "peak_vram": (self.gpu.peak_bytes,),
        }

    def encode(self, audio: np.ndarray | Tensor) -> np.ndarray:
        """float32 [B, N] at ``info.sample_rate_hz`` -> uint16 [B, K, T]; padded on the right.

        One clip per forward on a CPU (larger batches are slower there), a fixed batch on a GPU.
        A tensor must lie on the codec's own GPU. Raises CodecError on other shapes, dtypes, or
        samples that are not finite.
        """
        check_audio(audio, self.info.name)
        n_clips, n_samples = audio.shape
        n_frames = self.info.n_frames(n_samples)
        codes = np.zeros((n_clips, self.info.n_codebooks, n_frames), np.uint16)
        if n_clips:
            with self._one_at_a_time, torch.inference_mode(), threads(self._n_threads):
                codes[:] = self._forward(audio, n_frames * self.info.hop_samples).numpy()
        return codes


def cpu_forward(encoder: nn.Module, quantizer: nn.Module, precision: str, how: How) -> Forward:
    """dac's own layers, in fp32; bf16: channels last under autocast, compiled where asked.

    Whatever the encoder, the quantiser is dac's own, in fp32.
    """
    latents_of: Callable[[Tensor], Tensor]
    if precision == "bf16":

        def through(wave: Tensor) -> Tensor:
            return channels_last(encoder, wave[None, None, None])[0, :, 0]

        whole = torch.compile(through, dynamic=False) if how.fused else through

        def latents_of(wave: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return whole(wave).float()
    else:

        def latents_of(wave: Tensor) -> Tensor:
            return encoder(wave[None, None])[0]  # type: ignore[no-any-return]

    def codes_of(clip: np.ndarray, n_padded: int) -> Tensor:
        wave = torch.zeros(n_padded)
        wave[: len(clip)] = torch.from_numpy(finite(clip))
        codes: Tensor = quantizer(latents_of(wave)[None])[1]
        return codes

    def forward(audio: np.ndarray, n_padded: int) -> Tensor:
        return torch.cat([codes_of(clip, n_padded) for clip in audio])

    return forward


@contextlib.contextmanager
def threads(n_threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if n_threads is None or n_threads == before:
        yield
        return
    torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def find_device(device: str, precision: str) -> torch.device:
    """A torch device that is there. Raises CodecError, saying what to do without it."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise CodecError(f"device {device!r}: expected cpu, cuda or cuda:0") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise CodecError(
            f"no CUDA device {found.index or 0} found: torch {torch.__version__} sees "
            f"{torch.cuda.device_count()}; run without --gpu (or --device), or see `fxpipe doctor`"
        )
    if found.type not in ("cpu", "cuda"):
        raise CodecError(f"device {device!r}: expected cpu, cuda or cuda:0")
    if found.type == "cpu" and precision in ("tf32", "fp16"):
        raise CodecError(
            f"precision {precision!r} needs a CUDA device; use fp32 on the CPU, or give --gpu"
        )
    if found.type == "cpu" and precision == "bf16" and not cpu_has_bf16():
        raise CodecError(
            "precision 'bf16': this CPU has no bf16 arithmetic (avx512_bf16 or amx_bf16), so it "
            "would be slower than fp32 and less exact; leave --precision away"
        )
    return found


def cpu_has_bf16() -> bool:
    """Whether bf16 matrix products are quicker than fp32 here: told by the CPU's own flags."""
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in tests)


def open_codec(
    name: str,
    path: Path,
    digest: str,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    n_threads: int | None = None,
    how: How | None = None,
) -> Codec:
    """Read and seat a checkpoint whose sha256 is ``digest``. Raises CodecError."""
    where = find_device(device, precision)
    architecture, state = read_checkpoint(path)
    model = load_encoder(architecture, state, str(path))
    version = importlib.metadata.version("descript-audio-codec")
    backend = f"descript-audio-codec {version} / torch {torch.__version__}"
    info = codec_info(name, digest, architecture, precision, backend)
    if where.type == "cpu" and precision == "fp32" and not (how and how.exact):
        plain = {key: value.numpy() for key, value in model.state_dict().items()}
        return CpuCodec(plain, architecture.encoder_rates, info, n_threads)
    return DacCodec(model, info, device=where, n_threads=n_threads, how=how)
