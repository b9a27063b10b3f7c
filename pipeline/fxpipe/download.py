"""Owns getting data sets onto this machine: resumed, checked, unpacked, in one piece or not at all.

pooch keeps the registry, the cache and the final hash check; the transfer is ours, because a
gigabyte over a slow line must be able to go on where it stopped.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from fxpipe.errors import DownloadError, SourceError
from fxpipe.sources.base import default_data_dir
from fxpipe.sources.manifest import Manifest, RemoteFile, load_manifest
from fxpipe.transfer import Manner, Wanted, fetch_part, verify
from fxpipe.unzip import need_space, unzip

FETCHED_NAME = "fetched.json"


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    n_bytes: int | None = None,
    progress: bool = True,
    retries: int = 5,
    backoff_s: float = 1.0,
) -> str:
    """Download ``url`` to ``target`` and return its sha256.

    The bytes gather in ``<target>.part``; size and hashes are checked before it gets its name.
    A ``.part`` of an earlier run is gone on with only where a hash will prove the result. A
    target that already has the right hash is left as it is. Raises DownloadError.
    """
    wanted = Wanted(n_bytes, md5, sha256)
    if target.is_file() and wanted.has_hash:
        problem, digest = verify(target, wanted)
        if not problem:
            return digest
    part = target.with_name(target.name + ".part")
    digest = fetch_part(url, part, target.name, wanted, Manner(progress, retries, backoff_s))
    part.replace(target)
    _sync_folder(target.parent)
    return digest


@dataclass(frozen=True)
class ResumingDownloader:
    """``download`` for pooch: called with (url, output_file, pooch).

    pooch names a new temporary file each time, which could never be resumed: the ``.part`` lies
    beside it under the file's own name, and moves there when it is whole.
    """

    file: RemoteFile
    manner: Manner = field(default_factory=Manner)

    def __call__(self, url: str, output_file: str | os.PathLike[str], pooch: object) -> None:
        output = Path(output_file)
        part = output.with_name(self.file.name + ".part")
        fetch_part(url, part, self.file.name, _wanted(self.file), self.manner)
        part.replace(output)


def fetch_dataset(
    name: str,
    data_dir: Path | None = None,
    *,
    base_url: str | None = None,
    progress: bool = True,
    retries: int = 5,
    backoff_s: float = 1.0,
) -> Path:
    """Download, check and unpack a data set; returns its folder, ``<data_dir>/<name>``.

    An archive that already lies in ``data_dir`` is used. ``base_url`` replaces the folder part
    of every address, for a mirror. The folder appears only when everything in it is there, so
    a second call costs nothing. Raises SourceError for a name without anything to download,
    DownloadError for the rest.
    """
    manifest = load_manifest(name)
    if not manifest.files:
        by_hand = manifest.by_hand or f"see {manifest.url}"
        raise SourceError(f"{name}: no archive to fetch. {by_hand}")
    base = (data_dir or default_data_dir()).expanduser().absolute()
    folder = base / name
    if _is_fetched(folder, manifest):
        return folder
    if folder.exists() and not (folder / FETCHED_NAME).exists():
        raise DownloadError(
            f"{folder} exists and was not made by fxpipe: use it with --data-dir '{base}', "
            "or move it away and fetch again"
        )
    try:
        base.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"{base}: cannot be made ({error}); name another --data-dir") from error
    manner = Manner(progress, retries, backoff_s)
    archives = [_fetch_archive(file, base, base_url, manner) for file in manifest.files]
    _unpack(manifest, archives, folder, progress)
    return folder


def _is_fetched(folder: Path, manifest: Manifest) -> bool:
    record = folder / FETCHED_NAME
    return record.is_file() and record.read_text(encoding="utf-8") == _record(manifest)


def _record(manifest: Manifest) -> str:
    """What was unpacked and by which rules: another manifest fetches anew."""
    files = [{"name": file.name, "md5": file.md5, "sha256": file.sha256} for file in manifest.files]
    rules = {
        key: list(getattr(manifest.dry, key))
        for key in ("include", "exclude", "also_unpack", "nested")
    }
    content = {"name": manifest.name, "version": manifest.version, "files": files, "dry": rules}
    return json.dumps(content, indent=1) + "\n"


def _fetch_archive(
    file: RemoteFile,
    base: Path,
    base_url: str | None,
    manner: Manner,
) -> Path:
    import pooch

    wanted = _wanted(file)
    own = base / file.name
    if own.is_file():
        problem, _ = verify(own, wanted)
        if problem:
            raise DownloadError(f"{own}: {problem}; move it away to download it again")
        return own
    archives = base / "archives"
    part = archives / f"{file.name}.part"
    if not (archives / file.name).exists():
        have = part.stat().st_size if part.exists() else 0
        need_space(archives, max(0, file.expected_bytes - have), f"downloading {file.name}")
    url = f"{base_url.rstrip('/')}/{file.name}" if base_url else file.url
    known_hash = f"sha256:{file.sha256}" if file.sha256 else f"md5:{file.md5}" if file.md5 else None
    pooch.get_logger().setLevel("WARNING")  # the bar says it
    keeper = pooch.create(
        path=archives,
        base_url=url.rsplit("/", 1)[0],
        registry={file.name: known_hash},
        urls={file.name: url},
    )
    return Path(keeper.fetch(file.name, downloader=ResumingDownloader(file, manner)))


def _unpack(manifest: Manifest, archives: list[Path], folder: Path, progress: bool) -> None:
    """All archives into a temporary neighbour of ``folder``, which then takes its name."""
    unpacking = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(unpacking, ignore_errors=True)
    need_space(folder.parent, manifest.unpacked_bytes, f"unpacking {manifest.name}")
    dry = manifest.dry
    try:
        for file, archive in zip(manifest.files, archives, strict=True):
            written = unzip(archive, unpacking / file.unpack_to, dry.is_wanted, progress=progress)
            for inner in written:
                if dry.is_nested_archive(inner.relative_to(unpacking).as_posix()):
                    unzip(inner, inner.parent, dry.is_dry, progress=progress)
                    inner.unlink()
        (unpacking / FETCHED_NAME).write_text(_record(manifest), encoding="utf-8")
        if hasattr(os, "sync"):
            os.sync()
        if folder.exists():  # of an older manifest
            shutil.rmtree(folder)
        unpacking.replace(folder)
    except OSError as error:
        raise DownloadError(f"{folder}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(unpacking, ignore_errors=True)


def _wanted(file: RemoteFile) -> Wanted:
    return Wanted(file.n_bytes, file.md5, file.sha256)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where folders can be opened at all."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
