"""What a worker cannot do: reach the network, see credentials, be root, fill the disk."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import pytest

from conch import core, model_repo_builder, triton_configs
from conch.model_repo_builder import (
    BuildError,
    BuildRequest,
    CorruptArtefactError,
    DiskLimitError,
    Isolation,
    Limits,
    Workbench,
    check_digest,
    isolation_gaps,
)
from conch.model_repo_builder.handing_over import handed_over, take_over
from conch.model_repo_builder.isolation import (
    Confined,
    interpreter_paths,
    launch_words,
    readable_by_all,
    worker_environment,
)
from conch.model_repo_builder.worker_processes import PRESENT, Interpreter

Requests = Callable[..., BuildRequest]

LOADERS = textwrap.dedent(
    """
    import json, os, socket, sys, tempfile
    from conch.model_repo_builder import BuildError
    from conch.model_repo_builder.onnx_models import load_onnx

    def tell(model):
        found = {"uid": os.getuid(), "secret": os.environ.get("MLFLOW_TRACKING_PASSWORD", "")}
        for name, address in (("world", ("192.0.2.1", 80)), ("self", ("127.0.0.1", 1))):
            try:
                socket.create_connection(address, timeout=5)
            except OSError as error:
                found[name] = error.errno
        raise BuildError(json.dumps(found))

    def fill(model):
        print("writing checkpoints", file=sys.stderr, flush=True)
        folder = tempfile.mkdtemp()
        number = 0
        while True:
            number += 1
            with open(f"{folder}/{number}", "wb") as file:
                file.write(os.urandom(8 * 1024**2))

    def fat(model):
        print("one large file", file=sys.stderr, flush=True)
        os.truncate(tempfile.mkstemp()[1], 1024**4)

    LOADERS = {f.__name__: f for f in (tell, fill, fat)}
    LOADERS["onnx"] = load_onnx
    """
)


@pytest.fixture(scope="module")
def open_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of loaders that every user can read."""
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "strange_loaders.py").write_text(LOADERS)
        yield folder


@pytest.fixture(scope="module")
def interpreter(open_folder: Path) -> Interpreter:
    """One that every user can read: this one, or the system's of its version with its packages."""
    system = Path("/usr/bin/python3.11")
    packages = [Path(numpy.__file__).parents[1], *_conch_roots()]
    if (
        readable_by_all(Path(sys.executable))
        or sys.version_info[:2] != (3, 11)
        or not all(map(readable_by_all, [system, *packages]))
    ):
        return PRESENT
    return Interpreter(python=system, paths=(open_folder, *packages))


@pytest.fixture(scope="module")
def bench(
    open_folder: Path, interpreter: Interpreter, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workbench]:
    """A workbench whose parent has a secret."""
    given = {"PYTHONPATH": str(open_folder), "MLFLOW_TRACKING_PASSWORD": "hunter2"}
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    logs = tmp_path_factory.mktemp("logs")
    try:
        with Workbench(
            log_dir=logs, loaders="strange_loaders:LOADERS", interpreter=interpreter
        ) as made:
            yield made
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _conch_roots() -> list[Path]:
    return [
        Path(str(part.__file__)).parents[2] for part in (core, triton_configs, model_repo_builder)
    ]


@pytest.fixture
def flavour(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "MLmodel").write_text(f"flavors:\n  {name}: {{}}\n")
        return folder

    return make


def test_a_model_sees_no_network_no_secret_no_root(
    bench: Workbench,
    interpreter: Interpreter,
    flavour: Callable[[str], Path],
    request_for: Requests,
) -> None:
    """Asked from within; what this machine cannot enforce is said instead, by name."""
    import errno
    import json

    with pytest.raises(BuildError) as error:
        bench.build(request_for(flavour("tell")))
    found = json.loads(error.value.message)
    gaps = " ".join(isolation_gaps())
    assert found["secret"] == ""
    assert "no network" in gaps or (found["world"], found["self"]) == (
        errno.ENETUNREACH,
        errno.ENETUNREACH,
    )
    wished = Isolation().wishes(interpreter_paths(interpreter.python, interpreter.paths))
    assert found["uid"] == (os.geteuid() if wished["user"] is None else wished["user"])


def test_a_build_by_another_user_is_published_as_ours(
    bench: Workbench, linear: Path, request_for: Requests
) -> None:
    """Its digest holds, its files are ours, and the manifest says what the worker was kept from."""
    manifest = bench.build(request_for(linear))
    assert check_digest(manifest.path) == manifest.digest
    owners = {path.stat().st_uid for path in manifest.path.rglob("*")}
    assert owners == {os.geteuid()}
    assert manifest.isolation
    assert not list(manifest.path.parent.glob(".*"))


@pytest.mark.parametrize(
    ("name", "said"), [("fill", "writing checkpoints"), ("fat", "File too large")]
)
def test_a_build_over_its_disk_is_ended(
    bench: Workbench,
    flavour: Callable[[str], Path],
    request_for: Requests,
    name: str,
    said: str,
) -> None:
    """Many files are counted, one file is stopped by the kernel; both are told in their words."""
    limits = Limits(disk_bytes=64 * 1024**2)
    with pytest.raises(BuildError) as error:
        bench.build(request_for(flavour(name), limits=limits))
    told = f"{error.value} {error.value.details}"
    assert said in told
    if name == "fill":
        assert isinstance(error.value, DiskLimitError)


def test_what_cannot_be_taken_away_is_said() -> None:
    """A launcher that fails says so; it neither stops the build nor keeps quiet."""
    program = [sys.executable, "-S", "-c", "import os; print(dict(os.environ))"]
    words = launch_words({"network": True, "user": 65534, "group": 65534}, program)
    lonely = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
    if os.geteuid() != 0:
        lonely = []
    done = subprocess.run([*lonely, *words], capture_output=True, text=True, check=True)
    confined = Confined.read(ast.literal_eval(done.stdout)["CONCH_CONFINEMENT"])
    assert any("a user of its own" in gap for gap in confined.gaps)
    assert "Operation not permitted" in confined.said


@pytest.mark.parametrize(
    ("isolation", "needed", "why"),
    [
        (Isolation(user=""), "/usr", "nobody asked for it"),
        (Isolation(), "/no/such/place", "other users cannot read /no/such/place"),
        (Isolation(user="no-such-user"), "/usr", "there is no user 'no-such-user'"),
    ],
)
def test_why_a_worker_stays_who_it_is(isolation: Isolation, needed: str, why: str) -> None:
    """Each reason has its words; to a conch that is not root there is but one."""
    wishes = isolation.wishes([Path(needed)])
    assert wishes["user"] is None
    assert wishes["why"] == (
        why if os.geteuid() == 0 or not isolation.user else "conch is not root"
    )


def test_no_launcher_is_said_too() -> None:
    """A build in the process that asked for it had all of its rights."""
    assert "all of its rights" in Confined.read(None).said


def test_only_named_variables_reach_a_worker(tmp_path: Path) -> None:
    """New secrets are kept by default: the list says what passes, not what does not."""
    secrets = {"AWS_SECRET_ACCESS_KEY": "s", "CONCH_DATABASE_URL": "s", "GH_TOKEN": "s"}
    found = worker_environment(
        {**secrets, "PATH": "/bin", "LC_ALL": "C", "HOME": "/root"}, tmp_path
    )
    assert not set(secrets) & set(found)
    assert (found["PATH"], found["LC_ALL"], found["HOME"]) == ("/bin", "C", str(tmp_path))


def test_what_others_can_read(tmp_path: Path) -> None:
    """A folder above that is closed closes everything below."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a").chmod(0o700)
    assert not readable_by_all(inner)
    assert not readable_by_all(tmp_path / "absent")
    assert readable_by_all(Path("/usr/bin"))


@pytest.mark.parametrize("planted", ["link", "pipe"])
def test_a_worker_cannot_have_us_copy_what_it_may_not_read(
    planted: str, tmp_path: Path, request_for: Requests
) -> None:
    """A link to a secret, or a pipe that would hold us up, in what it made is refused."""
    secret = tmp_path / "secret"
    secret.write_text("root's own")
    source = tmp_path / "model"
    source.mkdir()
    (source / "MLmodel").write_text("x")
    request = request_for(source)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with handed_over(request, scratch, (os.getuid(), os.getgid())) as inner:
        inner.output.mkdir()
        if planted == "link":
            (inner.output / "model.onnx").symlink_to(secret)
        else:
            os.mkfifo(inner.output / "model.onnx")
        with pytest.raises((OSError, CorruptArtefactError)):
            take_over(inner.output, request.output)
    assert not request.output.exists()
    assert not list(scratch.iterdir())
