"""Errors of the trainer that the contract does not know. Must not import torch.

FxError
├── CheckpointError           a run directory that cannot be read, or was made by something else
├── UnreadableFileError       an audio file of a list that could not be heard
├── DiedError                 a process of a training on several was killed, or ended by itself
└── InterruptedFitError       exit 130: training was stopped by hand; it says how to go on
"""

from __future__ import annotations

from fxtrain.contract import FxError


class CheckpointError(FxError):
    pass


class UnreadableFileError(FxError):
    pass


class DiedError(FxError):
    pass


class InterruptedFitError(FxError):
    exit_code = 130
