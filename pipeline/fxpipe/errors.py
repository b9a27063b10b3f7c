"""Errors of the pipeline, below the contract's ``FxError``: one line each.

FxError (fxtrain.contract.errors)
├── SourceError          a data set that cannot be used as it is
│   └── DataMissingError     it is not on this machine: what is missing and what to type
├── DownloadError        a transfer that did not end in the right bytes
├── PedalError           a pedal, parameter or chain that cannot be built
├── CodecError           a codec, its weights or its device
├── RenderError          clips that could not be rendered
└── ExportError          a licence forbids passing data on
"""

from __future__ import annotations

from fxtrain.contract import FxError


class SourceError(FxError):
    pass


class DataMissingError(SourceError):
    pass


class DownloadError(FxError):
    pass


class PedalError(FxError):
    pass


class CodecError(FxError):
    pass


class RenderError(FxError):
    pass


class ExportError(FxError):
    """A licence forbids passing on what was to be exported."""
