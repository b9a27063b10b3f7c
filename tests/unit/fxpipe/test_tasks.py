"""The task runner: few tasks under way however many there are, and one line for what fails."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Iterator

import dask
import distributed  # its defaults must stand before some are set for a while
import pytest

from fixtures.tasks import die, double, double_or_miss, grumble, miss, write_at_first
from fxpipe.encode import encode_shard
from fxpipe.errors import SourceError
from fxpipe.renders import render_shard
from fxpipe.tasks import Job, Receipt, Workers, choose_workers, run_tasks, seen_by, where
from fxpipe.tasks import run as runner
from fxpipe.tasks.release import Release, _version, differences, release_here
from fxtrain.contract import FileEntry, FxError, MissingExtraError, ShardEntry, UsageError
from fxtrain.contract.frontend import TooLongError


def test_jobs_are_read_as_workers_become_free():
    n_jobs, read, answers = 300, 0, []

    def jobs() -> Iterator[Job]:
        nonlocal read
        for n in range(n_jobs):
            read = n + 1
            yield {"name": f"train-{n:06d}", "n": n}

    ahead = 0
    for answer in run_tasks(double, jobs(), Workers(1)):
        answers.append(answer)
        ahead = max(ahead, read - len(answers))
    assert sorted(answers) == [2 * n for n in range(n_jobs)]
    assert ahead <= (runner.TASKS_A_THREAD + 1) * runner.JOBS_A_TASK


def a_room(n_threads: int, *seen: tuple[int, float]) -> runner._Room:
    """``seen``: jobs of a task and its seconds."""
    client = types.SimpleNamespace(nthreads=lambda: {"tcp://here:1": n_threads})
    room = runner._Room(where.Crew(client, Workers(n_threads)))
    room.for_more(0)
    for n_jobs, took_s in seen:
        room.saw(n_jobs, took_s)
    return room


def test_short_jobs_are_sent_together_and_long_ones_alone():
    assert a_room(2).jobs_a_task(-1) == 1, "nothing is known yet"
    assert a_room(2, (1, 0.5)).jobs_a_task(-1) == 4
    assert a_room(2, (1, 0.5), (4, 2.0)).jobs_a_task(-1) == 4
    assert a_room(2, (1, 30.0)).jobs_a_task(-1) == 1
    assert a_room(2, (1, 1e-6)).jobs_a_task(-1) == runner.JOBS_A_TASK
    started = [(1, 9.0)] + [(1, 0.1)] * runner.TASKS_A_THREAD
    assert a_room(2, *started).jobs_a_task(-1) == runner.JOBS_A_TASK, "imports are soon forgotten"


def test_the_last_jobs_of_a_known_number_are_sent_one_by_one():
    room = a_room(2, (1, 0.01))
    assert [room.jobs_a_task(n) for n in (1000, 64, 40, 8, 7, 1, 0)] == [16, 16, 10, 2, 1, 1, 1]


def test_short_jobs_are_few_tasks(monkeypatch):
    sent: list[int] = []
    find = runner._outcome

    def count(future, crew):
        outcomes, took_s = find(future, crew)
        sent.append(len(outcomes))
        return outcomes, took_s

    monkeypatch.setattr(runner, "_outcome", count)
    jobs = [{"name": f"train-{n:06d}", "n": n} for n in range(300)]
    assert sorted(run_tasks(double, jobs, Workers(1))) == [2 * n for n in range(300)]
    assert sum(sent) == 300
    assert len(sent) < 100
    assert sent[-1] == 1
    sent.clear()
    assert sorted(run_tasks(double, jobs[:50], Workers(1), alone=True)) == [*range(0, 100, 2)]
    assert sent == [1] * 50


def test_what_a_task_did_before_an_error_counts():
    """What came after it is left; a task is told by its first job and its last."""
    jobs = [{"name": "a", "n": 1}, {"name": "b", "n": 2}, {"name": "c"}, {"name": "d", "n": 4}]
    (one, other, error), took_s = runner._try_each(double_or_miss, jobs, None)
    assert (one, other, str(error)) == (2, 4, "a.wav: cannot read c")
    assert 0 < took_s < 1
    assert runner._name(jobs) == "a to d"
    assert runner._name(jobs[:1]) == "a"


def test_results_before_an_error_are_yielded(monkeypatch):
    monkeypatch.setattr(runner._Room, "jobs_a_task", lambda self, n_left: 3)
    jobs = [{"name": "a", "n": 1}, {"name": "b", "n": 2}, {"name": "c"}]
    answers = run_tasks(double_or_miss, jobs, Workers(1))
    assert [next(answers), next(answers)] == [2, 4]
    with pytest.raises(SourceError, match=r"a\.wav: cannot read c"):
        next(answers)


def test_a_scheduler_that_does_not_count_its_threads_is_sent_tasks_all_the_same():
    def nthreads():
        raise OSError("timed out")

    crew = where.Crew(types.SimpleNamespace(nthreads=nthreads), Workers(2, "tcp://far:8786"))
    assert runner._Room(crew).for_more(0) == runner.TASKS_A_THREAD


def test_every_error_survives_the_way_from_another_process():
    kinds, waiting = [], [FxError]
    while waiting:
        kinds.append(waiting.pop())
        waiting += kinds[-1].__subclasses__()
    for kind in kinds:
        error = kind(61.0, 60.0) if kind is TooLongError else kind("a line")
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (kind, str(error))


def test_no_jobs_start_nothing(capsys):
    assert list(run_tasks(double, iter([]), Workers(2))) == []
    assert capsys.readouterr().err == ""


def test_a_task_that_kills_its_workers_is_named(capfd):
    with pytest.raises(FxError, match=r"train-000012: 4 workers died while making it") as caught:
        list(run_tasks(die, [{"name": "train-000012"}], Workers(1)))
    assert "not enough memory? Try fewer at a time (-j)" in str(caught.value)
    assert "Traceback" not in capfd.readouterr().err


def test_a_worker_ends_without_a_word(capfd):
    assert list(run_tasks(grumble, [{"name": "train-000012"}], Workers(1))) == [0]
    assert "closed" not in capfd.readouterr().err


@pytest.mark.parametrize("argv", [[], [[]]])
def test_a_users_own_preload_is_loaded_too(argv, tmp_path, capfd):
    mine = tmp_path / "mine.py"
    mine.write_text("def dask_setup(worker):\n    print('mine is loaded', flush=True)\n")
    own = {"distributed.worker.preload": str(mine), "distributed.worker.preload-argv": argv}
    with dask.config.set(own):
        assert list(run_tasks(grumble, [{"name": "train-000012"}], Workers(1))) == [0]
    heard = capfd.readouterr()
    assert "mine is loaded" in heard.out
    assert "closed" not in heard.err


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Release:
    """What a task on another machine is sent; here there is no dask worker around it."""
    monkeypatch.setattr(runner, "_stop_profile", lambda: None)
    return release_here()


def test_an_error_on_another_machine_says_where_and_what_it_must_see(far):
    alone = runner._try(miss, {"path": "/data/a.wav"}, None)
    assert isinstance(alone, SourceError)
    assert str(alone) == "a.wav: cannot read /data/a.wav"
    told = runner._try(miss, {"path": "/data/a.wav"}, far)
    assert isinstance(told, FxError)
    assert str(told).startswith(f"on {runner.here()}: a.wav: cannot read /data/a.wav (a worker on")
    assert "under the same path" in str(told)


@pytest.mark.parametrize("task", [render_shard, encode_shard])
def test_a_machine_without_the_folders_of_the_run_is_told_so(far, tmp_path, task):
    """Not to make them there: plan and renders are where the command was typed."""
    job = {"identity": "a", "plan_sha256": "b", "renders_sha256": "c", "spec": {}}
    places = {"uri": f"{tmp_path}/here/out", "renders": f"{tmp_path}/here/renders"}
    told = str(runner._try(task, job | places, far))
    assert told.startswith(f"on {runner.here()}: there is no {tmp_path}/here/renders there;")
    (tmp_path / "here/renders").mkdir(parents=True)
    assert f"there is no {tmp_path}/here/out there" in str(runner._try(task, job | places, far))
    (tmp_path / "here/out").mkdir()
    assert "there is no" not in str(runner._try(task, job | places, far))


def test_another_release_is_refused_by_the_task_itself(far):
    """A worker may come when the others were looked at long ago."""
    older = far | {"numpy": "1.0"}
    answer = runner._try(double, {"n": 1}, older)
    assert isinstance(answer, FxError)
    assert "instead of 1.0" in str(answer)
    assert runner._try(double, {"n": 1}, far) == 2


def test_an_encoder_of_another_torch_is_told_and_one_of_another_build_is_not(monkeypatch):
    here = release_here()
    said = differences(here | {"torch": "2.0.0"}, here)
    assert said == f"torch 2.0.0 instead of {here['torch']}"
    monkeypatch.setattr("fxpipe.tasks.release.metadata.version", lambda name: "2.13.0+cu126")
    assert _version("torch") == "2.13.0"


def test_differences_name_what_differs():
    ours = {"fxpipe": "1", "numpy": "2"}
    assert differences(ours, ours) == ""
    assert differences({"fxpipe": "1"}, ours) == "numpy none instead of 2"


def test_a_shard_that_is_not_here_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "SEEN_WITHIN_S", 0.0)
    shard = ShardEntry("train-000000", "train", 0, 1, (FileEntry("train-000000.npy", 3, "0" * 64),))
    receipt = Receipt("identity", shard, {})
    with pytest.raises(FxError, match="not to be seen from this machine"):
        runner._wait_to_see(receipt, str(tmp_path))
    (tmp_path / "train-000000.npy").write_bytes(b"abc")
    runner._wait_to_see(receipt, str(tmp_path))


def test_a_later_shard_that_is_not_here_is_told_too(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "SEEN_WITHIN_S", 0.0)
    jobs = [{"name": f"train-{n:06d}", "n": n, "uri": str(tmp_path)} for n in range(2)]
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        far = Workers(1, scheduler=cluster.scheduler_address)
        with pytest.raises(FxError, match="train-000001 there, and it is not to be seen from"):
            list(run_tasks(write_at_first, jobs, far))


def test_where_tasks_run_is_one_choice(monkeypatch):
    assert choose_workers(3, None, None) == Workers(3)
    assert choose_workers(3, None, "slurm").cluster == "slurm"
    with pytest.raises(UsageError, match="exclude each other"):
        choose_workers(3, "tcp://a:8786", "slurm")
    with pytest.raises(UsageError, match="needs -j"):
        choose_workers(None, None, "k8s")
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with pytest.raises(MissingExtraError, match=r'pip install "\.\[cluster\]"'):
        choose_workers(3, None, "slurm")


@pytest.fixture
def terminal():
    """Ctrl-C as a terminal's program hears it: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


STAYS = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"


def test_an_interrupt_while_workers_start_is_kept_for_when_they_run(terminal):
    with where._covered_ears() as ears:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        worker = subprocess.run([sys.executable, "-c", STAYS], capture_output=True, text=True)
        assert (worker.returncode, worker.stdout) == (0, "alive\n"), worker.stderr
        with pytest.raises(KeyboardInterrupt):
            ears.open()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        ears.shut()
        os.kill(os.getpid(), signal.SIGINT)  # while workers are being ended
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_real_crew_that_is_interrupted_while_it_starts(terminal, monkeypatch):
    started = where._started

    def interrupted(*args, **options):
        os.kill(os.getpid(), signal.SIGINT)
        return started(*args, **options)

    monkeypatch.setattr(where, "_started", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(run_tasks(double, [{"n": 1}], Workers(1)))
    monkeypatch.setattr(where, "_started", started)
    assert list(run_tasks(double, [{"n": 1}], Workers(1))) == [2]


def test_a_worker_that_is_no_process_yet_does_not_hide_what_went_wrong(monkeypatch):
    kill, asked = distributed.Nanny.kill, []

    async def stumbles(self, *args, **options):
        asked.append(self)
        await kill(self, *args, **options)
        if len(asked) == 1:
            raise AssertionError("can only join a started process")

    monkeypatch.setattr(distributed.Nanny, "kill", stumbles)
    with pytest.raises(FxError, match="4 workers died while making it"):
        list(run_tasks(die, [{"name": "train-000012"}], Workers(1)))
    assert asked
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("bokeh", "workers", "told"),
    [
        (None, Workers(2), False),
        (object(), Workers(2), True),
        (None, Workers(2, scheduler="tcp://a:8786"), True),
    ],
)
def test_a_dashboard_is_told_of_where_there_is_one(monkeypatch, capsys, bokeh, workers, told):
    client = types.SimpleNamespace(dashboard_link="http://a:8787/status", nthreads=lambda: {"w": 1})
    monkeypatch.setattr(where, "find_spec", lambda name: bokeh)
    where._ready(client, workers, None)
    assert capsys.readouterr().err == "dashboard: http://a:8787/status\n" * told


def test_paths_are_absolute_for_other_machines_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    far = Workers(1, scheduler="tcp://a:8786")
    assert seen_by(far, "renders") == str(tmp_path / "renders")
    assert seen_by(far, "s3://bucket/renders") == "s3://bucket/renders"
    assert seen_by(Workers(1), "renders") == "renders"


def test_places_are_read_alike_for_workers_here_and_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    far = Workers(1, scheduler="tcp://a:8786")
    assert seen_by(far, "~/renders") == str(tmp_path / "home/renders")
    assert seen_by(far, "file://renders") == str(tmp_path / "renders")
    for cut in ("", "s3:/bucket/renders"):
        with pytest.raises(UsageError, match="is no directory; give a path, or a URI"):
            seen_by(far, cut)


def test_where_nobody_listens_is_no_scheduler(monkeypatch):
    monkeypatch.setattr(where, "CONNECT_S", 0.2)
    nobody = Workers(1, scheduler="tcp://127.0.0.1:9")
    with pytest.raises(FxError, match="no dask scheduler answers at tcp:"):
        list(run_tasks(double, [{"name": "train-000000", "n": 1}], nobody))


def test_what_listens_and_never_answers_is_no_scheduler(monkeypatch):
    monkeypatch.setattr(where, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = Workers(1, scheduler=f"tcp://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(FxError, match="no dask scheduler answers"):
            list(run_tasks(double, [{"name": "train-000000", "n": 1}], mute))
