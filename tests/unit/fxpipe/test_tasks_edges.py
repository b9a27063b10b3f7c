"""What befalls tasks on other machines, workers that never start, and who counts as the same."""

from __future__ import annotations

import errno
import types
from pathlib import Path
from typing import Any

import distributed
import pytest

from fxpipe.tasks import Workers, release, where, worker_index
from fxpipe.tasks import run as runner
from fxpipe.tasks.release import Release, release_here
from fxtrain.contract import FxError

FAR = Workers(1, "tcp://far:8786")
GONE = OSError(errno.ENOENT, "No such file or directory on far", "/data/renders/plan.json")


def outcome(error: Exception, theirs: Release | None) -> Any:
    """Of a task that dask gave up; ``theirs`` is None on this machine."""

    def result() -> None:
        raise error

    future = types.SimpleNamespace(key=("encode", 7, "train-000007"), result=result)
    client = types.SimpleNamespace(scheduler=None)
    return runner._outcome(future, where.Crew(client, FAR, theirs))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (GONE, "train-000007: /data/renders/plan.json: No such file.* on far; every worker must"),
        (ModuleNotFoundError("no fxpipe", name="fxpipe.tasks"), "a worker has no fxpipe, or"),
    ],
)
def test_what_befell_a_task_on_another_machine_is_one_line(error: Exception, told: str) -> None:
    with pytest.raises(FxError, match=told) as caught:
        outcome(error, release_here())
    assert "\n" not in str(caught.value)
    with pytest.raises(type(error)) as as_it_is:
        outcome(error, None)
    assert as_it_is.value is error


def test_a_module_that_is_not_ours_is_told_as_it_is() -> None:
    error = ModuleNotFoundError("no numba", name="numba.core")
    with pytest.raises(ModuleNotFoundError) as caught:
        outcome(error, release_here())
    assert caught.value is error


def test_an_error_of_the_system_on_another_machine_says_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runner, "_stop_profile", lambda: None)

    def refuse(job: dict[str, Any]) -> None:
        raise job["error"]

    closed = OSError(errno.EACCES, "Permission denied", "/out/x.npy")
    with pytest.raises(PermissionError) as caught:
        runner._try(refuse, {"error": closed}, release_here())
    assert caught.value.strerror == f"Permission denied on {runner.here()}"
    assert caught.value.filename == "/out/x.npy"
    wordy = OSError("a library's own words")
    with pytest.raises(OSError, match="a library's own words") as other:
        runner._try(refuse, {"error": wordy}, release_here())
    assert other.value is wordy


def test_workers_that_die_while_they_start_are_started_anew_and_given_up_in_one_line() -> None:
    tries: list[int] = []

    def start(last: int) -> str:
        tries.append(last)
        if len(tries) < last:
            raise RuntimeError("Cluster failed to start") from OSError("Too many open files")
        return "running"

    assert where._start(start, {"last": where.STARTS}) == "running"
    tries.clear()
    with pytest.raises(FxError, match=r"3 times \(Too many open files\): .*Try fewer at a time"):
        where._start(start, {"last": where.STARTS + 1})
    assert len(tries) == where.STARTS


@pytest.mark.parametrize(("name", "index"), [(3, 3), ("tcp://10.0.0.7:4242", 0), ("gpu-3", 0)])
def test_each_local_worker_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, name: int | str, index: int
) -> None:
    monkeypatch.setattr(distributed, "get_worker", lambda: types.SimpleNamespace(name=name))
    assert worker_index() == index


def test_a_release_is_known_by_all_sources_that_decide_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline, trainer = tmp_path / "fxpipe", tmp_path / "fxtrain"
    render, serde, fit = pipeline / "render.py", trainer / "contract/serde.py", trainer / "fit.py"
    monkeypatch.setattr(release, "__file__", str(pipeline / "tasks/release.py"))
    monkeypatch.setattr(release.fxtrain, "__file__", str(trainer / "__init__.py"))
    for path in (render, serde, fit):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one")
    codes = [release._code()]
    fit.write_text("two")
    assert release._code() == codes[0]
    for path in (render, serde):
        path.write_text("two")
        codes.append(release._code())
    render.rename(pipeline / "renders.py")
    codes.append(release._code())
    assert len(set(codes)) == 4
