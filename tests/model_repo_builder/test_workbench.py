"""The workbench with real worker processes: warm, limited, cancelled, crashed, orphaned."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from conch.core import ConchError
from conch.model_repo_builder import (
    BuildCancelledError,
    BuildRequest,
    Limits,
    MemoryLimitError,
    OutputExistsError,
    TimeLimitError,
    UnknownFlavourError,
    Workbench,
    WorkerCrashedError,
    check_digest,
)

Requests = Callable[..., BuildRequest]

LOADERS = textwrap.dedent(
    """
    import os, signal, sys, time
    from conch.model_repo_builder.onnx_models import load_onnx

    def crash(model):
        print("the library says goodbye", file=sys.stderr, flush=True)
        os._exit(7)

    def segfault(model):
        os.kill(os.getpid(), signal.SIGSEGV)

    def hang(model):
        print("noise on standard output", flush=True)
        while True:
            time.sleep(0.01)

    def eat(model):
        kept = []
        while True:
            kept.append(b"x" * (32 * 1024 ** 2))

    def child(model):
        import subprocess
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        hang(model)

    def bug(model):
        raise RuntimeError("a bug of a framework")

    LOADERS = {f.__name__: f for f in (crash, segfault, hang, eat, child, bug)}
    LOADERS["onnx"] = load_onnx  # without pytorch, so that a fresh worker is there at once
    """
)


@pytest.fixture(scope="module")
def rough(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """A workbench with flavours that misbehave, and ONNX."""
    folder = tmp_path_factory.mktemp("rough")
    (folder / "rough_loaders.py").write_text(LOADERS)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(folder)
    try:
        bench = Workbench(log_dir=folder, loaders="rough_loaders:LOADERS")
        yield bench
    finally:
        bench.close()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@pytest.fixture
def flavour(tmp_path: Path) -> Callable[[str], Path]:
    """The folder of a model of a named flavour."""

    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "MLmodel").write_text(f"flavors:\n  {name}: {{}}\n")
        return folder

    return make


def test_a_build_in_a_warm_worker(workbench: Workbench, mlp: Path, request_for: Requests) -> None:
    """Progress arrives in order, and the manifest that comes back is the published one."""
    workbench.warm()
    seen: list[tuple[float, str]] = []
    manifest = workbench.build(
        request_for(mlp), progress=lambda part, text: seen.append((part, text))
    )
    assert check_digest(manifest.path) == manifest.digest
    parts = [part for part, _ in seen]
    assert parts == sorted(parts)
    assert parts[0] == 0.0
    assert parts[-1] == 1.0


def test_an_error_keeps_its_class(
    workbench: Workbench, flavour: Callable[[str], Path], request_for: Requests
) -> None:
    """A refusal crosses the process boundary with code, hint and details."""
    with pytest.raises(UnknownFlavourError, match="prophet") as error:
        workbench.build(request_for(flavour("prophet")))
    assert error.value.hint


def test_a_taken_output_is_refused(
    workbench: Workbench, linear: Path, request_for: Requests
) -> None:
    """A version directory is never written twice."""
    workbench.build(request_for(linear))
    with pytest.raises(OutputExistsError):
        workbench.build(request_for(linear))


@pytest.mark.parametrize(
    ("name", "how"), [("crash", "exited with status 7"), ("segfault", "killed by SIGSEGV")]
)
def test_a_crash_is_reported_and_the_next_build_works(
    rough: Workbench,
    flavour: Callable[[str], Path],
    request_for: Requests,
    linear: Path,
    name: str,
    how: str,
) -> None:
    """The error has the worker's last words; a fresh worker builds what comes next."""
    request = request_for(flavour(name))
    with pytest.raises(WorkerCrashedError, match=how) as error:
        rough.build(request)
    said = {"crash": "the library says goodbye", "segfault": "Segmentation fault"}[name]
    assert said in error.value.details["last_words"]
    assert not list(request.output.parent.glob(".*")), "a staging folder was left"
    assert rough.build(request_for(linear)).flavour == "onnx"


def test_a_bug_does_not_end_the_worker(
    rough: Workbench, flavour: Callable[[str], Path], request_for: Requests
) -> None:
    """An unexpected exception is an error of that build."""
    with pytest.raises(ConchError, match="RuntimeError: a bug of a framework") as error:
        rough.build(request_for(flavour("bug")))
    assert error.value.code == "build-failed"


def test_a_build_over_its_time_is_ended(
    rough: Workbench, flavour: Callable[[str], Path], request_for: Requests
) -> None:
    """The limit counts from when the worker was ready."""
    rough.warm()
    with pytest.raises(TimeLimitError, match=r"0\.5 seconds"):
        rough.build(request_for(flavour("hang"), limits=Limits(time_s=0.5)))


def test_a_build_over_its_memory_is_ended(
    rough: Workbench, flavour: Callable[[str], Path], request_for: Requests
) -> None:
    """The worker is ended at the limit, before the machine runs out of memory."""
    limits = Limits(memory_bytes=1024**3)
    with pytest.raises(MemoryLimitError, match="1024"):
        rough.build(request_for(flavour("eat"), limits=limits))


def test_a_cancelled_build_ends_with_its_children(
    rough: Workbench, flavour: Callable[[str], Path], request_for: Requests
) -> None:
    """Cancelling ends the worker and whatever it started."""
    rough.warm()
    me = psutil.Process()
    found: list[psutil.Process] = []

    def cancelled() -> bool:
        below = me.children(recursive=True)
        sleepers = [p for p in below if "import time; time.sleep(600)" in _words(p)]
        found.extend(sleepers)
        return bool(sleepers)

    with pytest.raises(BuildCancelledError):
        rough.build(request_for(flavour("child")), cancelled=cancelled)
    gone, alive = psutil.wait_procs(found, timeout=10)
    assert gone
    assert not alive


def test_a_caller_that_raises_ends_its_build(
    rough: Workbench, flavour: Callable[[str], Path], request_for: Requests, linear: Path
) -> None:
    """A lost lease, raised from the progress callback, leaves no build running behind it."""

    class LeaseLost(Exception):
        pass

    def progress(part: float, text: str) -> None:
        raise LeaseLost

    with pytest.raises(LeaseLost):
        rough.build(request_for(flavour("hang")), progress=progress)
    assert rough.build(request_for(linear)).flavour == "onnx"


@pytest.mark.usefixtures("rough")  # whose loaders are importable
def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    """A parent that gets SIGKILL leaves no process behind."""
    script = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from conch.model_repo_builder import Workbench
        bench = Workbench(log_dir=Path({str(tmp_path)!r}), loaders="rough_loaders:LOADERS")
        bench.warm()
        print("ready", flush=True)
        time.sleep(600)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    workers = psutil.Process(parent.pid).children(recursive=True)
    assert workers
    parent.kill()
    parent.wait()
    parent.stdout.close()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive


@pytest.mark.usefixtures("rough")
def test_a_closed_workbench_builds_nothing(
    tmp_path: Path, linear: Path, request_for: Requests
) -> None:
    """Closing is final, may be repeated, and ends the worker."""
    bench = Workbench(log_dir=tmp_path, loaders="rough_loaders:LOADERS")
    before = set(psutil.Process().children())
    bench.warm()
    started = set(psutil.Process().children()) - before
    bench.close()
    bench.close()
    assert started
    assert not [process for process in started if process.is_running()]
    with pytest.raises(BuildCancelledError):
        bench.build(request_for(linear))


def _words(process: psutil.Process) -> list[str]:
    """Return a process's command line; none for one that has just ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []
