"""A store that fails one request in ten and stalls now and then changes no byte."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from faults.conftest import ENCODE, RENDER, Fx
from fixtures.http import running_server, serve, status
from fixtures.stores import FlakyFileSystem, Mood, flaky_memory, flaky_s3
from fxpipe.against import compare
from fxtrain.contract import (
    DamagedError,
    FxError,
    UsageError,
    open_folder,
    read_codebooks,
    read_verified,
)
from fxtrain.contract import remote as rm
from fxtrain.data import open_shards


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(rm, "PAUSE_S", 0.01)
    monkeypatch.setenv("FXPIPE_STORE_TIMEOUT_S", "0.5")


@pytest.fixture
def store() -> Iterator[str]:
    with flaky_memory(Mood(1, fails=0.1, stalls=0.01)) as uri:
        yield uri


def make_all(fx: Fx, uri: str, *formats: str) -> None:
    lines = [[*RENDER.split(), f"{uri}/renders"]]
    for name in formats:
        out = f"{uri}/{'shards' if name == 'webdataset' else name}"
        options = [*ENCODE.split(), "--format", name, "-o", out]
        lines.append(["encode", f"{uri}/renders", *options])
    for line in lines:
        done = fx(*line)
        assert done.code == 0, done.err


def test_render_encode_check_and_read_give_the_same_bytes(whole, fx: Fx, store):
    make_all(fx, store, "webdataset", "zarr")
    for name in ("renders", "shards", "zarr"):
        assert compare(f"{store}/{name}", str(whole / name)).problems == []
        assert fx("check", f"{store}/{name}").code == 0
    dataset = open_shards(f"{store}/shards")
    read_codebooks(dataset.folder, dataset.index)
    codes = dataset.load_arrays("train")["codes"]
    assert (codes == open_shards(whole / "shards").load_arrays("train")["codes"]).all()
    mood = FlakyFileSystem.mood
    assert mood.n_failed >= 10
    assert mood.n_stalled >= 1


@pytest.fixture
def s3(monkeypatch) -> Iterator[Mood]:
    """The mood of a true S3 server, good so far, which holds one bucket."""
    pytest.importorskip("moto", reason="the S3 server of the dev extra is not installed")
    s3fs = pytest.importorskip("s3fs", reason="the S3 client of the dev extra is not installed")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("FXPIPE_STORE_TIMEOUT_S", "2")
    mood = Mood(2, fails=0, stalls=0)
    s3fs.S3FileSystem.clear_instance_cache()
    with flaky_s3(mood) as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        s3fs.S3FileSystem().makedirs("bucket", exist_ok=True)
        yield mood
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_true_s3_server_that_answers_503_and_stalls(whole, fx: Fx, s3):
    s3.fails, s3.stalls = 0.1, 0.01
    make_all(fx, "s3://bucket/set", "webdataset")
    for name in ("renders", "shards"):
        assert compare(f"s3://bucket/set/{name}", str(whole / name)).problems == []
    assert fx("check", "s3://bucket/set/shards").code == 0
    assert s3.n_failed >= 5


def test_a_store_is_asked_for_many_sizes_at_once(s3):
    folder = open_folder("s3://bucket/set")
    names = [f"shards/{number:02d}" for number in range(40)]
    expected = [folder.write(name, b"x" * number).n_bytes for number, name in enumerate(names)]
    before = s3.n_asked
    assert folder.sizes([*names, "none"]) == [*expected, None]
    assert s3.n_asked == before + 1
    assert folder.sizes([names[7], "none"]) == [7, None]
    assert open_folder("s3://bucket/other").sizes(names) == [None] * 40


def test_a_small_file_of_known_size_takes_one_request(s3, monkeypatch):
    folder = open_folder("s3://bucket/set")
    data = bytes(range(250)) * 40
    entry = folder.write("a", data)

    def asked(name: str, n_bytes: int) -> tuple[bytes, int]:
        before = s3.n_asked
        return folder.read(name, n_bytes), s3.n_asked - before

    assert asked("a", len(data)) == (data, 1)
    assert asked("a", 7) == (data[:8], 1)
    assert asked("a", 20_000) == (data, 1)
    before = s3.n_asked
    assert read_verified(folder, entry) == data
    assert s3.n_asked == before + 1
    monkeypatch.setattr("fxtrain.contract.remote.ONE_REQUEST_BYTES", 5_000)
    assert asked("a", len(data))[0] == data  # in parts, as many at once as s3fs likes
    assert asked("a", 6_000)[0] == data[:6_001]
    with pytest.raises(FileNotFoundError):
        folder.read("b", 7)
    with pytest.raises(FileNotFoundError):
        folder.read("b", 6_000)


@pytest.mark.parametrize("left", [b"", b"ab", b"abcdef"])
def test_a_file_that_was_cut_or_grew_in_a_store_is_damaged(left, s3):
    folder = open_folder("s3://bucket/set")
    entry = folder.write("a", b"abcd")
    folder.write("a", left)
    with pytest.raises(DamagedError, match=f"a has {len(left)} bytes, the index says 4; make it"):
        read_verified(folder, entry)
    folder.delete("a")
    with pytest.raises(DamagedError, match="a is missing"):
        read_verified(folder, entry)
    assert read_verified(folder, folder.write("a", b"")) == b""


def test_tries_are_not_multiplied_by_those_of_the_libraries_below(s3, monkeypatch):
    monkeypatch.setenv("FXPIPE_STORE_TRIES", "3")
    folder = open_folder("s3://bucket/set")
    s3.fails = 1.0
    with pytest.raises(FxError, match="tried 3 times"):
        folder.read("index.json")
    assert s3.n_failed == 3


def test_a_persons_own_settings_of_stores_stay(monkeypatch):
    from fsspec.config import conf

    monkeypatch.setitem(conf, "s3", {"config_kwargs": {"signature_version": "s3"}})
    monkeypatch.setitem(conf, "s3a", {"config_kwargs": {"connect_timeout": 3}})
    monkeypatch.setitem(conf, "https", {"client_kwargs": {"headers": {"Authorization": "me"}}})
    (options,) = rm._left_to_us("s3://bucket/set").values()
    assert options == {
        "retries": {"total_max_attempts": 1},
        "signature_version": "s3",
        "connect_timeout": 3,
    }
    (options,) = rm._left_to_us("https://somewhere/set").values()
    assert options["headers"] == {"Authorization": "me"}
    assert rm._left_to_us("gs://bucket/set") == {}


def test_what_a_web_page_of_s3_makes_for_a_directory_is_no_file(s3):
    import s3fs

    folder = open_folder("s3://bucket/made")
    for key in ("made/", "made/.receipts/"):
        s3fs.S3FileSystem().call_s3("put_object", Bucket="bucket", Key=key)
    folder.write(".receipts/owner", b"x")
    assert folder.names() == [".receipts/owner"]


def test_a_bucket_that_is_not_there_is_told_and_not_made(fx: Fx, s3):
    import s3fs

    for line in (RENDER.split(), ["check"]):
        done = fx(*line, "s3://buckte/set/renders")
        assert done.code == 1
        assert "cannot look at s3://buckte/set/renders" in done.out + done.last_line
        assert "bucket does not exist" in done.out + done.last_line
    store = s3fs.S3FileSystem()
    store.invalidate_cache()
    assert "buckte" not in store.ls("")


def test_shards_are_read_over_http_that_fails(whole):
    with running_server() as server:
        for path in (whole / "shards").rglob("*"):
            if path.is_file():
                name = path.relative_to(whole / "shards").as_posix()
                server.files[f"s/{name}"] = path.read_bytes()
        server.plan = [status(503), serve, status(500), serve, status(429)] * 2
        dataset = open_shards(f"{server.url}/s")
        codes = dataset.load_arrays("train")["codes"]
        assert server.plan == []
        assert open_folder(f"{server.url}/s").size("none") is None
    assert (codes == open_shards(whole / "shards").load_arrays("train")["codes"]).all()


def test_after_the_last_try_one_line_says_what_failed_and_nothing_is_lost(
    whole, fx: Fx, store, monkeypatch
):
    monkeypatch.setenv("FXPIPE_STORE_TRIES", "3")
    FlakyFileSystem.mood.fails = FlakyFileSystem.mood.stalls = 0.0
    assert fx(*RENDER.split(), f"{store}/renders").code == 0
    FlakyFileSystem.mood.fails = 1.0
    before = dict(FlakyFileSystem.store)
    done = fx("encode", f"{store}/renders", *ENCODE.split(), "-o", f"{store}/shards")
    assert done.code == 1
    assert f"cannot look at {store}/renders/index.json" in done.last_line
    assert "tried 3 times" in done.last_line
    assert "run the same command again" in done.last_line
    assert FlakyFileSystem.store == before
    FlakyFileSystem.mood.fails = 0.0
    assert fx("encode", f"{store}/renders", *ENCODE.split(), "-o", f"{store}/shards").code == 0
    assert compare(f"{store}/shards", str(whole / "shards")).problems == []


def test_check_stops_in_one_line_where_the_store_does_not_answer(whole, fx: Fx, store, monkeypatch):
    monkeypatch.setenv("FXPIPE_STORE_TRIES", "2")
    FlakyFileSystem.mood.fails = FlakyFileSystem.mood.stalls = 0.0
    folder, there = open_folder(store), open_folder(whole / "shards")
    for name in there.names():
        folder.write(name, there.read(name))

    def reset(self, path, **options):
        if path.endswith(".tar"):
            raise ConnectionResetError(104, "Connection reset by peer")
        return MemoryFileSystem.cat_file(self, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(FlakyFileSystem, "cat_file", reset)
        done = fx("check", store)
    assert (done.code, done.out) == (1, "")
    assert f"cannot read {store}/train-000000.tar: [Errno 104] Connection reset" in done.last_line
    assert "tried 2 times" in done.last_line
    folder.delete("train-000000.tar")
    folder.write("valid-000000.tar", b"x")
    lost, cut = fx("check", store).out.splitlines()
    assert "train-000000.tar is missing" in lost
    assert "valid-000000.tar has 1 bytes, the index says" in cut


def test_a_stalled_request_is_given_up(store, monkeypatch):
    monkeypatch.setenv("FXPIPE_STORE_TRIES", "2")
    monkeypatch.setenv("FXPIPE_STORE_TIMEOUT_S", "0.05")
    FlakyFileSystem.mood.fails, FlakyFileSystem.mood.stalls = 0.0, 1.0
    with pytest.raises(
        FxError, match=r"cannot read flaky://bucket/x: no answer in .*tried 2 times"
    ):
        open_folder(store).read("x")


@pytest.mark.parametrize("error", [PermissionError("Access Denied"), OSError(28, "No space left")])
def test_what_cannot_help_is_not_tried_again(store, error, monkeypatch):
    FlakyFileSystem.mood.fails = 1.0
    monkeypatch.setattr(FlakyFileSystem.mood, "failure", lambda: error)
    folder = open_folder(store)
    FlakyFileSystem.mood.n_asked = 0
    with pytest.raises(FxError, match=r"cannot read flaky://bucket/x: .*mend that") as caught:
        folder.read("x")
    assert FlakyFileSystem.mood.n_asked == 1
    assert "\n" not in str(caught.value)


def test_a_directory_that_could_not_be_listed_is_not_empty(store):
    FlakyFileSystem.mood.fails = FlakyFileSystem.mood.stalls = 0.0
    folder = open_folder(store)
    for name in ("a", "deep/b", "deep/er/c"):
        folder.write(name, b"x")
    FlakyFileSystem.mood.fails = 0.4
    for _ in range(20):
        assert folder.names() == ["a", "deep/b", "deep/er/c"]
    assert open_folder(f"{store}/none").names() == []


def test_a_directory_that_may_not_be_listed_is_named(store, monkeypatch):
    FlakyFileSystem.mood.fails = FlakyFileSystem.mood.stalls = 0.0
    folder = open_folder(store)
    folder.write("deep/er/c", b"x")

    def closed(self, path, **options):
        if path.endswith("deep"):
            raise PermissionError("Access Denied")
        return MemoryFileSystem.ls(self, path, **options)

    monkeypatch.setattr(FlakyFileSystem, "ls", closed)
    with pytest.raises(FxError, match="cannot list flaky://bucket/deep: Access Denied"):
        folder.names()


def test_half_uploaded_objects_are_not_taken_for_whole(whole, fx: Fx, store):
    """A store that is no object store may keep the first half of what was being written."""
    FlakyFileSystem.mood.fails = FlakyFileSystem.mood.stalls = 0.0
    line = [*RENDER.split(), f"{store}/renders"]
    assert fx(*line).code == 0
    folder = open_folder(f"{store}/renders")
    for name in ("train-000001.npy", "valid-000000.jsonl", ".receipts/test-000000.json"):
        folder.write(name, folder.read(name)[:-7])
    folder.write("index.json", folder.read("index.json")[:300])
    assert fx(*line).code == 0
    assert compare(folder.uri, str(whole / "renders")).problems == []


class StatusError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"status {code}")
        self.status = code


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (ConnectionResetError(104, "reset"), True),
        (TimeoutError(), True),
        (OSError(5, "Input/output error"), True),
        (StatusError(503), True),
        (StatusError(429), True),
        (StatusError(403), False),
        (FileNotFoundError("x"), False),
        (PermissionError("x"), False),
        (OSError(30, "Read-only file system"), False),
        (KeyboardInterrupt(), False),
        (NotImplementedError(), False),
    ],
)
def test_transient_and_permanent_are_told_apart(error, transient):
    assert rm.is_transient(error) is transient


def test_settings_of_patience_are_checked(monkeypatch):
    monkeypatch.setenv("FXPIPE_STORE_TRIES", "many")
    with pytest.raises(UsageError, match="FXPIPE_STORE_TRIES='many': expected a number above 0"):
        open_folder("memory://x")


def test_a_web_server_that_tells_no_length_is_read(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_server() as server:
        folder = open_folder(server.url)
        monkeypatch.setattr(type(folder._fs), "_info", _no_length)
        assert folder.size("file.zip") == len(server.files["file.zip"])


async def _no_length(self, url, **options):
    return {"name": url, "size": None, "type": "file"}
