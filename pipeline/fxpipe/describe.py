"""What ``fxpipe inspect`` prints."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

from fxpipe.renders import KIND, iter_clips, read_renders_index
from fxpipe.summary import encode_summary, render_summary
from fxtrain.contract import (
    CODEBOOKS_NAME,
    INDEX_NAME,
    SPLITS,
    DamagedError,
    FxError,
    UsageError,
    open_folder,
    read_index,
    read_json,
    to_dict,
    unknown_name,
)

SOUND_FORMATS = {".wav": "WAV", ".flac": "FLAC", ".aiff": "AIFF", ".ogg": "OGG", ".mp3": "MP3"}


def inspect_directory(
    directory: str, *, sample: int | None, split: str, listen: Path | None, as_json: bool
) -> str:
    """Summary of renders/ or shards/, or one sample of renders/ as record and wav."""
    folder = open_folder(directory)
    if split not in SPLITS:
        raise UsageError(unknown_name("split", split, SPLITS))
    kind = index_kind(directory)
    if kind != KIND:
        if sample is not None or listen is not None:
            raise UsageError(f"{directory}: holds tokens; --sample and --listen want renders/")
        index = read_index(folder)
        return json.dumps(to_dict(index)) if as_json else encode_summary(index, directory)
    renders = read_renders_index(folder)
    if sample is None and listen is None:
        return json.dumps(to_dict(renders)) if as_json else render_summary(renders, directory)
    position = sample or 0
    clips = list(iter_clips(folder, renders, split, position, 1))
    if not clips:
        n = renders.counts[split].n_samples
        raise UsageError(f"{directory}: no sample {position} in {split}, which holds {n}")
    wave, record = clips[0]
    if listen is not None:
        loud = wave / np.float32(max(1.0, float(np.abs(wave).max())))
        write_sound(listen, loud, renders.spec.sample_rate_hz, subtype="PCM_24")
    return json.dumps(record, indent=None if as_json else 1)


def write_sound(
    path: Path, wave: np.ndarray, sample_rate_hz: int, *, subtype: str | None = None
) -> None:
    """``wave`` [N] as a file of the format that its name says; one line where that cannot be.

    ``subtype``: how samples are stored, where the format knows it.
    """
    import soundfile

    form = SOUND_FORMATS.get(path.suffix.lower())
    if form is None:
        raise UsageError(
            f"{path}: no sound file is named so; give a name that ends in one of "
            f"{', '.join(SOUND_FORMATS)}"
        )
    known = subtype if subtype and soundfile.check_format(form, subtype) else None
    data = io.BytesIO()
    try:
        soundfile.write(data, wave, sample_rate_hz, format=form, subtype=known)
    except (soundfile.SoundFileError, ValueError) as error:
        said = " ".join(str(error).split())
        raise FxError(
            f"{path}: cannot be written as {form} at {sample_rate_hz} Hz ({said}); give a name "
            "that ends in .wav"
        ) from None
    try:
        path.write_bytes(data.getvalue())
    except OSError as error:
        raise FxError(
            f"cannot write {path}: {error.strerror or error}; give a name in a directory that is "
            "there and may be written to"
        ) from None


def index_kind(directory: str) -> str:
    """What a directory's index says it is; readers give the full error when it says nothing."""
    folder = open_folder(directory)
    if folder.size(INDEX_NAME) is not None:
        try:
            return str(read_json(folder.read(INDEX_NAME), INDEX_NAME).get("kind"))
        except (DamagedError, AttributeError):
            pass  # damaged: what else lies there tells
    return "" if folder.size(CODEBOOKS_NAME) is not None else KIND
