"""What a file inside a data set may be called. Standard library only.

A name comes from an index, so from whoever made the data. It is joined to a folder, to read and to
write, and must never lead out of it, on any operating system.
"""

from __future__ import annotations

import unicodedata

from fxtrain.contract.errors import ContractError, shorten

SOUND_SUFFIXES = frozenset(
    {
        *(".wav", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3"),
        *(".aiff", ".aif", ".aifc", ".au", ".caf"),
    }
)
"""How the names of recordings end, in small letters, that can be read."""

RECORDING_SUFFIXES = SOUND_SUFFIXES | {".m4a", ".aac", ".wma"}
"""Where a folder is looked through: what phones write cannot be read, so it is named, not passed
over in silence."""

MAX_NAME, MAX_PART = 1000, 255
"""Bytes; a file system would raise an error of its own for more."""


def check_name(name: str) -> str:
    """``name`` itself where it is relative, uses ``/`` and stays inside its folder.

    Raises ContractError for anything absolute, with a drive or a scheme, ``..``, an empty part, a
    backslash, or characters that cannot be printed or encoded.
    """
    parts, encoded = name.split("/"), name.encode("utf-8", "replace")
    bad = (
        not name
        or len(encoded) > MAX_NAME
        or any(len(part) > MAX_PART for part in encoded.split(b"/"))
        or any(part in ("", ".", "..") for part in parts)
        or ":" in parts[0]
        or "\\" in name
        or (not (name.isascii() and name.isprintable()) and _unprintable(name))
    )
    if bad:
        raise ContractError(
            f"{shorten(name)} is no file name inside a data set: expected a relative name with / "
            "that stays in its folder; get the data set again from where you trust it"
        )
    return name


def _unprintable(name: str) -> bool:
    """Control characters, half surrogate pairs and what turns the reading direction around."""
    return any(unicodedata.category(letter) in ("Cc", "Cs", "Cf", "Zl", "Zp") for letter in name)
