"""Owns getting data sets onto this machine: resumed, checked, unpacked, in one piece or not at all.

pooch keeps the registry, the cache and the final hash check; the transfer is ours, because a
gigabyte over a slow line must be able to go on where it stopped. What was kept is pinned in
``sources.lock.json`` (see ``lockfile``).
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from fxpipe.errors import DownloadError, SourceError
from fxpipe.fetch.lockfile import ARCHIVES, add_pin, find_pin, read_pins, wanted_file
from fxpipe.fetch.transfer import Found, Manner, Wanted, fetch_part, look_at
from fxpipe.fetch.unzip import need_space, unzip
from fxpipe.sources.base import default_data_dir
from fxpipe.sources.manifest import Manifest, RemoteFile, load_manifest
from fxtrain.contract import alone, at_home

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
    target that already has the right hash is left as it is. Two at once would write one
    ``.part``: the caller sees to that (``one_fetch``). Raises DownloadError.
    """
    wanted = Wanted(n_bytes, md5, sha256)
    if target.is_file() and wanted.has_hash:
        found = look_at(target, progress=progress)
        if not wanted.problem(found):
            return found.sha256
    part = target.with_name(target.name + ".part")
    found = fetch_part(url, part, target.name, wanted, Manner(progress, retries, backoff_s))
    part.replace(target)
    _sync_folder(target.parent)
    return found.sha256


@dataclass(frozen=True)
class ResumingDownloader:
    """``download`` for pooch: called with (url, output_file, pooch).

    pooch names a new temporary file each time, which could never be resumed: the ``.part`` lies
    beside it under the file's own name. It stays there, as a second name of the same bytes, until
    pooch has checked them: a process killed meanwhile loses nothing. ``on_whole`` hears what the
    file is.
    """

    file_name: str
    wanted: Wanted
    manner: Manner = field(default_factory=Manner)
    on_whole: Callable[[Path, Found], None] = lambda path, found: None

    def __call__(self, url: str, output_file: str | os.PathLike[str], pooch: object) -> None:
        output = Path(output_file)
        part = output.with_name(self.file_name + ".part")
        found = fetch_part(url, part, self.file_name, self.wanted, self.manner)
        output.unlink(missing_ok=True)
        try:
            output.hardlink_to(part)
        except OSError:  # a disk without hard links
            part.replace(output)
        self.on_whole(output, found)


def one_fetch(lock: Path, name: str, progress: bool) -> AbstractContextManager[None]:
    """One process at a time brings ``name``; whoever comes second says so and waits."""

    def met() -> None:
        if progress:
            print(f"{name}: another fxpipe is fetching it; waiting", file=sys.stderr)

    return alone(lock, met)


def fetch_dataset(
    name: str,
    data_dir: Path | None = None,
    *,
    archives: Sequence[Path] = (),
    base_url: str | None = None,
    progress: bool = True,
    retries: int = 5,
    backoff_s: float = 1.0,
) -> Path:
    """Download, check and unpack a data set; returns its folder, ``<data_dir>/<name>``.

    ``name`` may be the path of a user's own manifest. ``archives`` are files the user has, used
    where they lie and checked like a download; one that lies in ``data_dir`` under its own name
    is found by itself. ``base_url`` replaces the folder part of every address, for a mirror. The
    folder appears only when everything in it is there, so a second call costs nothing. Raises
    SourceError for a name without anything to download, DownloadError for the rest.
    """
    manifest = load_manifest(name)
    if not manifest.files:
        by_hand = manifest.by_hand or f"see {manifest.url}"
        raise SourceError(f"{name}: no archive to fetch. {by_hand}")
    at_hand = _assign(manifest, archives)
    base = at_home(data_dir or default_data_dir()).absolute()
    folder = base / manifest.name
    if _is_fetched(folder, manifest):
        return folder
    if folder.exists() and not (folder / FETCHED_NAME).exists():
        raise DownloadError(
            f"{folder} exists and was not made by fxpipe: use it with --data-dir "
            f"{shlex.quote(str(base))}, or move it away and fetch again"
        )
    store = base / ARCHIVES / manifest.name
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"{base}: cannot be made ({error}); name another --data-dir") from error
    with one_fetch(store / ".busy", manifest.name, progress):
        own = {name for file in manifest.files for name in (file.name, f"{file.name}.part")}
        for litter in store.glob("tmp*"):  # pooch's, of a killed process
            if litter.name not in own:
                litter.unlink()
        if not _is_fetched(folder, manifest):  # by another process, while this one waited
            errand = _Errand(manifest, base, store, base_url, Manner(progress, retries, backoff_s))
            _unpack(manifest, errand.bring(at_hand), folder, progress)
    return folder


@dataclass(frozen=True)
class _Errand:
    """Bringing every file of one data set: ``base`` holds them all, ``store`` what came for it."""

    manifest: Manifest
    base: Path
    store: Path
    base_url: str | None
    manner: Manner

    def bring(self, at_hand: dict[str, Path]) -> list[Path]:
        """Where each file of the manifest lies, right and pinned."""
        pins = read_pins(self.base)
        files = [
            (file, wanted_file(file, find_pin(pins, self.manifest.name, file), self.base))
            for file in self.manifest.files
        ]
        own = {file.name: self.base / file.name for file, wanted in files if wanted.has_hash}
        at_hand = {name: path for name, path in own.items() if path.is_file()} | at_hand
        to_come = [file for file, _ in files if file.name not in at_hand]
        need_space(
            self.base,
            sum(map(self._bytes_to_come, to_come)) + self.manifest.unpacked_bytes,
            f"fetching and unpacking {self.manifest.name}",
        )
        return [
            self._check(at_hand[file.name], file, wanted)
            if file.name in at_hand
            else self._fetch(file, wanted)
            for file, wanted in files
        ]

    def _bytes_to_come(self, file: RemoteFile) -> int:
        whole, part = self.store / file.name, self.store / f"{file.name}.part"
        if whole.exists():
            return 0
        return max(0, file.expected_bytes - (part.stat().st_size if part.exists() else 0))

    def _check(self, path: Path, file: RemoteFile, wanted: Wanted) -> Path:
        """A file of the user's: its bytes are looked at, never moved nor copied."""
        found = look_at(path, progress=self.manner.progress)
        problem = wanted.problem(found)
        if problem:
            raise DownloadError(
                f"{path}: {problem}: not the {file.name} of {self.manifest.title}, or damaged; "
                "move it away or leave --archive out to download it"
            )
        self._pin(file, path, found)
        return path

    def _pin(self, file: RemoteFile, path: Path, found: Found) -> None:
        """Every later fetch must bring these bytes; not so of an archive that does not open."""
        if not file.name.endswith(".zip") or zipfile.is_zipfile(path):
            add_pin(self.base, self.manifest.name, file, found)

    def _fetch(self, file: RemoteFile, wanted: Wanted) -> Path:
        import pooch

        url = f"{self.base_url.rstrip('/')}/{file.name}" if self.base_url else file.url
        known = (("sha256", wanted.sha256), ("md5", wanted.md5))
        known_hash = next((f"{kind}:{value}" for kind, value in known if value), None)
        pooch.get_logger().setLevel("WARNING")  # the bar says it
        keeper = pooch.create(
            path=self.store,
            base_url=url.rsplit("/", 1)[0],
            registry={file.name: known_hash},
            urls={file.name: url},
        )
        pin = partial(self._pin, file)
        bringer = ResumingDownloader(file.name, wanted, self.manner, pin)
        path = Path(keeper.fetch(file.name, downloader=bringer))
        _sync_folder(self.store)
        if find_pin(read_pins(self.base), self.manifest.name, file) is None:  # kept, unpinned
            pin(path, look_at(path, progress=self.manner.progress))
        path.with_name(f"{file.name}.part").unlink(missing_ok=True)
        return path


def _assign(manifest: Manifest, archives: Sequence[Path]) -> dict[str, Path]:
    """The user's archives by the file of the manifest each stands for.

    By name; the one archive of a data set may have any name.
    """
    names = {file.name.lower(): file.name for file in manifest.files}
    assigned: dict[str, Path] = {}
    for given in archives:
        path = at_home(given).absolute()
        if not path.is_file():
            found = "a folder: --data-dir takes that" if path.is_dir() else "not there"
            raise SourceError(f"--archive {path}: {found}; give the file as it was downloaded")
        only = manifest.files[0].name if len(names) == 1 else None
        name = names.get(path.name.lower(), only)
        if name is None or name in assigned:
            raise SourceError(
                f"--archive {path}: which file of {manifest.name} is it? expected one each, named "
                f"{' or '.join(names.values())}"
            )
        assigned[name] = path
    return assigned


def _is_fetched(folder: Path, manifest: Manifest) -> bool:
    try:
        record = json.loads((folder / FETCHED_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(record == _record(manifest))


def _record(manifest: Manifest) -> dict[str, object]:
    """What was unpacked and by which rules: another manifest fetches anew."""
    files = [
        {key: getattr(file, key) for key in ("name", "url", "md5", "sha256", "unpack_to")}
        for file in manifest.files
    ]
    record = {"name": manifest.name, "version": manifest.version, "files": files}
    plain: dict[str, object] = json.loads(json.dumps(record | {"dry": asdict(manifest.dry)}))
    return plain


def _unpack(manifest: Manifest, archives: list[Path], folder: Path, progress: bool) -> None:
    """All archives into a temporary neighbour of ``folder``, which then takes its name."""
    unpacking = folder.with_name(f".{folder.name}.unpacking")
    outdated = folder.with_name(f".{folder.name}.outdated")
    dry = manifest.dry
    for leftover in (unpacking, outdated):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        for file, archive in zip(manifest.files, archives, strict=True):
            into = unpacking / file.unpack_to
            if not file.name.endswith(".zip"):
                into.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(archive, into / file.name)
                continue
            for inner in unzip(archive, into, dry.is_wanted, progress=progress):
                if dry.is_nested_archive(inner.relative_to(unpacking).as_posix()):
                    unzip(inner, inner.parent, dry.is_wanted, progress=progress)
                    inner.unlink()
        record = json.dumps(_record(manifest), indent=1)
        (unpacking / FETCHED_NAME).write_text(f"{record}\n", encoding="utf-8")
        if hasattr(os, "sync"):
            os.sync()
        if folder.exists():  # of an older manifest
            folder.replace(outdated)
        unpacking.replace(folder)
        _sync_folder(folder.parent)
    except OSError as error:
        raise DownloadError(f"{folder}: cannot be written ({error})") from error
    finally:
        for leftover in (unpacking, outdated):
            shutil.rmtree(leftover, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut, where folders can be opened at all."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
