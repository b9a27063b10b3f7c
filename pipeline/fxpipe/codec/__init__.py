"""Codecs by name: audio to tokens. Light to import: torch and dac come in with `load_codec`, and
only for what `fxpipe.codec.cpu` does not do.

Shapes: B batch, K codebook, T frame, N audio sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from fxpipe.errors import CodecError
from fxtrain.contract import CodecInfo, unknown_name

__all__ = [
    "CODECS",
    "PRECISIONS",
    "Codec",
    "CodecSpec",
    "How",
    "default_precision",
    "fetch_weights",
    "load_codec",
]

PRECISIONS = ("fp32", "tf32", "fp16", "bf16")
"""Of the encoder's arithmetic; the quantiser is fp32 always. tf32 and fp16 need a CUDA device, bf16
that or a CPU with bf16 arithmetic."""


@dataclass(frozen=True)
class How:
    """What may change the time and the last digits, and nothing that is asked for.

    ``exact``: IEEE fp32 through dac's own layers. ``fused``: compile the encoder (on a CPU, in bf16
    only). ``max_vram_gb``: cap on a GPU's memory.
    """

    exact: bool = False
    fused: bool = False
    max_vram_gb: float | None = None


def default_precision(device: str) -> str:
    """fp16 on a GPU (a tenth of bf16's error at its speed), fp32 on a CPU."""
    return "fp16" if device.startswith("cuda") else "fp32"


class Codec(Protocol):
    """Audio to tokens. ``codebooks`` float32 [K, codebook_size, codebook_dim]: raw vectors."""

    info: CodecInfo
    codebooks: np.ndarray

    @property
    def arithmetic(self) -> str:
        """How and on what it encodes, for the record."""
        ...

    def usage(self) -> dict[str, tuple[int, ...]]:
        """What a GPU was used for; nothing on a CPU."""
        ...

    def encode(self, audio: np.ndarray) -> np.ndarray:
        """float32 [B, N] at ``info.sample_rate_hz`` -> uint16 [B, K, T]."""
        ...


@dataclass(frozen=True)
class CodecSpec:
    """One named codec. ``url`` None: shipped in the package. ``architecture``: kwargs of dac.DAC.

    ``sha256`` None: nobody has published it; the first download is locked (`fxpipe.codec.weights`).
    Those given agree in unrelated public projects (44khz, 16khz) or come from one whose other two
    do (24khz).
    """

    name: str
    sample_rate_hz: int
    file_name: str
    architecture: Mapping[str, object] = field(repr=False)
    model_type: str = ""
    bitrate: str = ""
    tag: str = ""
    url: str | None = None
    n_bytes: int | None = None
    sha256: str | None = None


_RELEASES = "https://github.com/descriptinc/descript-audio-codec/releases/download"

CODECS: dict[str, CodecSpec] = {
    "44khz": CodecSpec(
        name="44khz",
        sample_rate_hz=44_100,
        file_name="weights.pth",
        architecture={"n_codebooks": 9},
        model_type="44khz",
        bitrate="8kbps",
        tag="0.0.1",
        url=f"{_RELEASES}/0.0.1/weights.pth",
        n_bytes=306_717_287,
        sha256="a88eed82a7024ccc1facdb1e605c4c2f99281c8118c22c9895ffa846d8fb61aa",
    ),
    "44khz-16kbps": CodecSpec(
        name="44khz-16kbps",
        sample_rate_hz=44_100,
        file_name="weights_44khz_16kbps.pth",
        architecture={"n_codebooks": 18, "latent_dim": 128},
        model_type="44khz",
        bitrate="16kbps",
        tag="1.0.0",
        url=f"{_RELEASES}/1.0.0/weights_44khz_16kbps.pth",
    ),
    "24khz": CodecSpec(
        name="24khz",
        sample_rate_hz=24_000,
        file_name="weights_24khz.pth",
        architecture={
            "encoder_rates": [2, 4, 5, 8],
            "decoder_rates": [8, 5, 4, 2],
            "n_codebooks": 32,
            "sample_rate": 24_000,
        },
        model_type="24khz",
        bitrate="8kbps",
        tag="0.0.4",
        url=f"{_RELEASES}/0.0.4/weights_24khz.pth",
        sha256="44bad592fc393e03eb0be7a5120b7d487fe9612fa41269dc03fca3d4b87e20ad",
    ),
    "16khz": CodecSpec(
        name="16khz",
        sample_rate_hz=16_000,
        file_name="weights_16khz.pth",
        architecture={
            "encoder_rates": [2, 4, 5, 8],
            "decoder_rates": [8, 5, 4, 2],
            "n_codebooks": 12,
            "sample_rate": 16_000,
        },
        model_type="16khz",
        bitrate="8kbps",
        tag="0.0.5",
        url=f"{_RELEASES}/0.0.5/weights_16khz.pth",
        sha256="95ab7176b67137d4d4c6c54b8d6ef3cea797faec228cb03ad084badcad570b4d",
    ),
    "embedded": CodecSpec(
        name="embedded",
        sample_rate_hz=44_100,
        file_name="encoder.safetensors",
        architecture={
            "encoder_dim": 24,
            "encoder_rates": [8, 8, 4, 2],
            "latent_dim": 128,
            "decoder_dim": 384,
            "decoder_rates": [2, 4, 8, 8],
            "n_codebooks": 9,
            "quantizer_dropout": 0.5,
        },
    ),
}


def load_codec(
    name_or_path: str,
    *,
    device: str = "cpu",
    precision: str = "fp32",
    n_threads: int | None = None,
    how: How | None = None,
    sha256: str | None = None,
) -> Codec:
    """A codec of `CODECS`, or any DAC checkpoint (``.pth``, or ``.safetensors`` + ``codec.json``).

    A checkpoint is named by its file, without folders, in whatever is made with it. A bare name
    that is no file here is looked for in the environment variable FXPIPE_CODEC: checkpoints, or
    folders of them, separated as in PATH. ``sha256``: of the file meant, where several have the
    name; what is loaded may differ where none has it (``info.weights_sha256``).

    ``device``: ``cpu``, ``cuda`` or ``cuda:1``. ``n_threads``: CPU threads while encoding (None:
    torch's own choice). A name whose weights are not on this machine is an error that says how to
    fetch them; nothing is downloaded here. Files are read without running code from them.
    ``how``: see `How`.

    Raises:
        CodecError: unknown name, weights missing or unreadable, device or precision not there.
    """
    from fxpipe.codec import cpu, weights

    if precision not in PRECISIONS:
        raise CodecError(unknown_name("precision", precision, PRECISIONS))
    expected = None
    if name_or_path in CODECS:
        name, spec = name_or_path, CODECS[name_or_path]
        path, expected = weights.find_weights(spec), weights.expected_sha256(spec)
    elif found := weights.find_checkpoint(name_or_path, sha256):
        name, path = found.name, found
    elif sha256 or _looks_like_a_file(Path(name_or_path)):
        raise CodecError(weights.missing_checkpoint(name_or_path, sha256, ", ".join(CODECS)))
    else:
        raise CodecError(unknown_name("codec", name_or_path, CODECS))
    digest = weights.checked_sha256(path, name, expected)
    if not (how and how.exact) and cpu.can_open(path, device, precision):
        return cpu.open_codec(name, path, digest, n_threads=n_threads)

    from fxpipe.codec import engine

    return engine.open_codec(
        name, path, digest, device=device, precision=precision, n_threads=n_threads, how=how
    )


def _looks_like_a_file(path: Path) -> bool:
    return path.suffix in (".pth", ".pt", ".safetensors") or len(path.parts) > 1


def fetch_weights(name: str, *, progress: bool = True, base_url: str | None = None) -> Path:
    """Make the weights of a named codec present: resumed, hash-checked, atomic. Returns the path.

    They go where descript-audio-codec itself looks, ``~/.cache/descript/dac/``. ``base_url``: a
    mirror that holds the files under their own names. The embedded codec needs no download.

    Raises:
        CodecError: unknown name, or bytes that are not the expected ones.
        DownloadError: the transfer failed.
    """
    from fxpipe.codec import weights

    if name not in CODECS:
        raise CodecError(unknown_name("codec", name, CODECS))
    return weights.fetch(CODECS[name], progress=progress, base_url=base_url)
