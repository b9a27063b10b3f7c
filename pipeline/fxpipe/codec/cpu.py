"""A DAC on a CPU in fp32, in numpy alone: tiled encoder, residual quantiser, the codec of both.

Loads neither torch nor dac, so that one clip is answered soon; checked against dac's own classes,
which `fxpipe.codec.engine` runs. Shapes: B batch, K codebook, T frame, N audio sample, C latent
channel, S codebook entry, D codebook dimension.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from fxpipe.codec.architecture import (
    Architecture,
    difference,
    misfit,
    read_card,
    unreadable,
)
from fxpipe.codec.tiled import TiledEncoder
from fxpipe.errors import CodecError
from fxtrain.contract import CodecInfo

Array = np.ndarray
State = Mapping[str, Array]


class Quantizer:
    """dac's ``ResidualVectorQuantize``, codes only. ``state``: its tensors by dac's own names."""

    def __init__(self, state: State, n_codebooks: int) -> None:
        names = [f"quantizers.{k}" for k in range(n_codebooks)]
        self.codebooks = np.stack([state[f"{name}.codebook.weight"] for name in names])
        self._into = [_projection(state, f"{name}.in_proj") for name in names]
        self._back = [_projection(state, f"{name}.out_proj") for name in names]
        self._units = [_unit(book) for book in self.codebooks]

    def __call__(self, latents: Array) -> Array:
        """[C, T] -> int64 [K, T]. Step by step as dac does it, so that near ties fall alike."""
        residual, codes = latents, []
        for book, units, into, back in zip(
            self.codebooks, self._units, self._into, self._back, strict=True
        ):
            found = into[0] @ residual + into[1]
            heard = _unit(found.T)
            distance = np.square(heard).sum(1, keepdims=True) - (2 * heard) @ units.T
            distance += np.square(units).sum(1)
            index = distance.argmin(1)
            nearest = found + (book[index].T - found)
            residual = residual - (back[0] @ nearest + back[1])
            codes.append(index)
        return np.stack(codes)


def _projection(state: State, name: str) -> tuple[Array, Array]:
    return np.ascontiguousarray(state[f"{name}.weight"][:, :, 0]), state[f"{name}.bias"][:, None]


def _unit(rows: Array) -> Array:
    """[M, D] at length 1; ``torch.nn.functional.normalize``."""
    norm = np.sqrt(np.square(rows).sum(1, keepdims=True))
    found: Array = rows / np.maximum(norm, 1e-12)
    return found


class CpuCodec:
    """Ready to encode. ``state``: float32, weight norm folded, by the names of ``dac.DAC``."""

    def __init__(
        self, state: State, rates: tuple[int, ...], info: CodecInfo, n_threads: int | None = None
    ) -> None:
        self.info = info
        self._n_threads = n_threads or 1
        self._one_at_a_time = threading.Lock()
        self._encoder = TiledEncoder(_below("encoder", state), rates)
        self._quantizer = Quantizer(_below("quantizer", state), info.n_codebooks)
        self.codebooks = self._quantizer.codebooks

    @property
    def arithmetic(self) -> str:
        """How and where it is done, for the record: what may change a code's last digit."""
        return f"{self.info.precision}, tiled, on a CPU with {_blas()}"

    def usage(self) -> dict[str, tuple[int, ...]]:
        return {}

    def encode(self, audio: Array) -> Array:
        """float32 [B, N] at ``info.sample_rate_hz`` -> uint16 [B, K, T]; padded on the right.

        ``n_threads`` clips are encoded side by side, each in one thread: tiles are too small to be
        shared. Raises CodecError on other shapes, dtypes, or samples that are not finite.
        """
        check_audio(audio, self.info.name)
        n_clips, n_samples = audio.shape
        n_frames = self.info.n_frames(n_samples)
        codes = np.zeros((n_clips, self.info.n_codebooks, n_frames), np.uint16)
        n_parts = min(self._n_threads, n_clips)

        def part(number: int) -> None:
            own = encoder.twin() if number else encoder
            wave = np.zeros(n_frames * self.info.hop_samples, np.float32)
            for i in range(number, n_clips, n_parts):
                wave[:n_samples] = finite(audio[i])
                codes[i] = self._quantizer(own(wave))

        with self._one_at_a_time, one_blas_thread():
            encoder = self._encoder
            try:
                if n_parts > 1:
                    with ThreadPoolExecutor(n_parts, "encode") as pool:
                        list(pool.map(part, range(n_parts)))
                elif n_clips:
                    part(0)
            except BaseException:
                # Ctrl-C while a thread is begun leaves it at work: the next clip gets other memory.
                self._encoder = encoder.twin()
                raise
        return codes


def _below(name: str, state: State) -> dict[str, Array]:
    return {key[len(name) + 1 :]: each for key, each in state.items() if key.startswith(f"{name}.")}


def check_audio(audio: Any, name: str) -> None:
    """Raises CodecError unless it is float32 [B, N], an array or a tensor."""
    is_float = str(audio.dtype) in ("float32", "torch.float32")
    if audio.ndim != 2 or not is_float or audio.shape[1] == 0:
        raise CodecError(
            f"codec {name}: audio is {audio.dtype} {list(audio.shape)}, expected float32 [B, N]"
        )


def finite(audio: Any) -> Any:
    """The same array or tensor. Raises CodecError where a sample is no number."""
    if not (np.isfinite(audio) if isinstance(audio, np.ndarray) else audio.isfinite()).all():
        raise CodecError("audio holds NaN or infinite samples; check the render that made it")
    return audio


def one_blas_thread() -> AbstractContextManager[Any]:
    """While inside, numpy's matrix products use the calling thread alone."""
    limited: AbstractContextManager[Any] = _controller().limit(limits=1, user_api="blas")
    return limited


@functools.cache
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@functools.cache
def _blas() -> str:
    """numpy's BLAS, and the processor it takes this one for.

    scipy and torch may have loaded others, which do not encode: shards tell what they were encoded
    with, and must not tell who asked.
    """
    found = _controller().select(user_api="blas").info()
    own = [each for each in found if "numpy" in str(each.get("filepath"))] or found
    names = {f"{each.get('internal_api')} {each.get('architecture')}" for each in own}
    return ", ".join(sorted(names)) or "an unknown BLAS"


def can_open(path: Path, device: str, precision: str) -> bool:
    """Whether this module can run a checkpoint: plain numbers without weight norm, on a CPU."""
    from safetensors import SafetensorError, safe_open

    if path.suffix != ".safetensors" or (device, precision) != ("cpu", "fp32"):
        return False
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            kinds = {file.get_slice(name).get_dtype() for name in names}
    except (OSError, SafetensorError):
        return False
    return kinds <= {"F16", "F32", "F64"} and not any(name.endswith("weight_g") for name in names)


def open_codec(name: str, path: Path, digest: str, *, n_threads: int | None = None) -> CpuCodec:
    """Read and seat a checkpoint whose sha256 is ``digest``. Raises CodecError."""
    architecture = read_card(path)
    state = read_state(path, architecture)
    backend = f"fxpipe on numpy {np.__version__}"
    info = codec_info(name, digest, architecture, "fp32", backend)
    return CpuCodec(state, architecture.encoder_rates, info, n_threads)


def codec_info(
    name: str, digest: str, architecture: Architecture, precision: str, backend: str
) -> CodecInfo:
    return CodecInfo(
        name=name,
        weights_sha256=digest,
        sample_rate_hz=architecture.sample_rate,
        hop_samples=architecture.hop_samples,
        n_codebooks=architecture.n_codebooks,
        codebook_size=architecture.codebook_size,
        codebook_dim=architecture.codebook_dim,
        precision=precision,
        backend=backend,
    )


def read_state(path: Path, architecture: Architecture) -> dict[str, Array]:
    """Encoder and quantiser in float32, as many and as large as the architecture says."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = load_file(path)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise CodecError(unreadable(path, error)) from error
    own = {key: each for key, each in found.items() if key.startswith(("encoder.", "quantizer."))}
    shapes = {key: each.shape for key, each in own.items()}
    if problem := difference(shapes, architecture.shapes()):
        raise CodecError(misfit(path, problem))
    state = {key: each.astype(np.float32) for key, each in own.items()}
    if not all(np.isfinite(each).all() for each in state.values()):
        raise CodecError(misfit(path, "some are not finite numbers"))
    return state
