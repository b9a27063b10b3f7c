"""Options of ``encode`` -> devices, precision and processes; what cannot be is refused."""

from __future__ import annotations

import pytest

from fxpipe import arithmetic as ar
from fxpipe.codec import How, default_precision, engine
from fxpipe.encode import foresee
from fxpipe.errors import CodecError
from fxtrain.contract import UsageError


def choose(**options) -> ar.Arithmetic:
    given_ = {"gpu": None, "precision": None, "exact": False, "compile_it": None,
              "max_vram_gb": None, "n_clips": 10, "elsewhere": True}  # fmt: skip
    return ar.choose_arithmetic(**given_ | options)


@pytest.fixture
def gpus(monkeypatch):
    """Every GPU that is asked for is there."""
    monkeypatch.setattr(engine, "find_device", lambda device, precision: None)


def test_defaults_are_fp32_on_a_cpu_and_fp16_on_a_gpu(gpus):
    assert choose() == ar.Arithmetic(("cpu",), "fp32", How())
    two = choose(gpu="0,1", elsewhere=False)
    assert two == ar.Arithmetic(("cuda:0", "cuda:1"), "fp16", How())
    assert choose(gpu="0", exact=True) == ar.Arithmetic(("cuda:0",), "fp32", How(exact=True))
    assert choose(gpu="2", precision="tf32", max_vram_gb=8.0).how == How(max_vram_gb=8.0)
    assert default_precision("cuda") == "fp16"


def test_compiling_is_for_large_jobs_on_a_gpu_unless_asked_for():
    large = {"n_clips": ar.COMPILE_FROM_CLIPS, "gpu": "0"}
    assert choose(**large).how.fused
    assert not choose(gpu="0", n_clips=ar.COMPILE_FROM_CLIPS - 1).how.fused
    assert not choose(n_clips=ar.COMPILE_FROM_CLIPS).how.fused
    assert choose(precision="bf16").how.fused
    assert choose(gpu="0", compile_it=True).how.fused
    assert not choose(compile_it=False, **large).how.fused
    assert not choose(exact=True, **large).how.fused


def test_without_a_compiler_one_line_says_so(monkeypatch, capsys, gpus):
    monkeypatch.setattr(ar.shutil, "which", lambda name: name if name == "g++" else None)
    monkeypatch.setenv("CXX", "none-such")  # torch takes this one and no other
    assert not choose(precision="bf16", elsewhere=False).how.fused
    assert capsys.readouterr().err.count("no C++ compiler found") == 1
    assert choose(gpu="0", compile_it=True, elsewhere=False).how.fused  # takes none
    assert choose(precision="bf16", elsewhere=True).how.fused  # theirs cannot be seen
    monkeypatch.delenv("CXX")
    assert choose(precision="bf16", elsewhere=False).how.fused
    assert not capsys.readouterr().err


def test_each_gpu_has_a_process_or_as_many_as_are_asked_for():
    two = ("cuda:0", "cuda:1")
    assert [ar.workers_for(two, asked) for asked in (None, 2, 5)] == [2, 2, 5]
    with pytest.raises(UsageError, match=r"-j 1: each of the 2 GPUs .* give -j 2 or more"):
        ar.workers_for(two, 1)


@pytest.mark.parametrize(("n_workers", "each_gb"), [(2, 8.0), (3, 4.0), (4, 4.0), (6, 8 / 3)])
def test_processes_on_one_gpu_share_what_it_may_take(gpus, n_workers, each_gb):
    two = {"gpu": "0,1", "elsewhere": False}
    capped = choose(max_vram_gb=8.0, **two)
    assert ar.share_memory(capped, n_workers).how.max_vram_gb == each_gb
    assert ar.share_memory(choose(**two), n_workers).how.max_vram_gb is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpu": "a"}, "expected a number"),
        ({"gpu": "0,0"}, "different numbers"),
        ({"gpu": "-1"}, "different numbers from 0"),
        ({"gpu": "0,1"}, "a worker there has one GPU"),
        ({"max_vram_gb": 4.0}, "give --gpu too"),
        ({"exact": True, "precision": "fp16"}, "--exact means fp32"),
        ({"compile_it": True}, "quicker without"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        choose(**options)


def test_devices_that_are_not_here_are_refused_before_anything_is_read():
    with pytest.raises(CodecError, match="no CUDA device 7"):
        choose(gpu="7", elsewhere=False)
    with pytest.raises(CodecError, match="needs a CUDA device"):
        choose(precision="fp16", elsewhere=False)


@pytest.mark.parametrize(
    ("n_workers", "later"), [(1, [3, 6, 9, None]), (2, [6, 9, None, None]), (5, [None] * 4)]
)
def test_a_job_names_what_its_process_probably_reads_next(n_workers, later):
    jobs = [{"split": "train", "first": first, "n": 3, "number": first} for first in (0, 3, 6, 9)]
    foresee(jobs, n_workers)
    guessed = [job.get("next") for job in jobs]
    assert guessed == [at and {"split": "train", "first": at, "n": 3} for at in later]
