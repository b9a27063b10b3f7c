"""What tokens hold, made audible: a clip through encoder, quantiser and decoder, and back.

For ears only: nothing in training or prediction decodes. Shapes: K codebook, N audio sample.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fxpipe.codec import CODECS, dac
from fxpipe.codec.weights import find_weights
from fxpipe.errors import CodecError


def decoded(
    wave: np.ndarray, n_codebooks: int | None = None, folder: Path | None = None
) -> np.ndarray:
    """float32 [N] at 44.1 kHz and the level rule -> what the first books keep of it, as a sound.

    ``folder`` holds encoder, decoder and codec.json; without it, those of the embedded codec.
    Raises CodecError where the decoder is not there: installed packages leave it out.
    """
    encoder_file = find_weights(CODECS["embedded"])
    if folder is not None:
        encoder_file = folder / encoder_file.name
    architecture, state = dac.read_whole(encoder_file)
    if not 1 <= (n_codebooks or 1) <= architecture.n_codebooks:
        raise CodecError(f"{n_codebooks} codebooks: expected 1 to {architecture.n_codebooks}")
    model = dac.build(architecture, decoder=True, normed=False)
    dac.load_whole(model, state, encoder_file)
    model.eval()
    padded = np.pad(wave, (0, -len(wave) % architecture.hop_samples)).astype(np.float32)
    with torch.inference_mode():
        latents = model.get_submodule("encoder")(torch.from_numpy(padded)[None, None])
        quantized = model.get_submodule("quantizer")(latents, n_codebooks)[0]
        sound = model.get_submodule("decoder")(quantized)[0, 0].numpy()
    kept: np.ndarray = np.zeros(len(wave), np.float32)
    n_samples = min(len(wave), len(sound))  # strided filters lose a few samples at the end
    kept[:n_samples] = sound[:n_samples]
    return kept
