"""Files of a home: desired and observed state, settings, the runtime's marker, ports."""

from __future__ import annotations

import os
import socket
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest

from conch.core import ConflictError, InvalidValueError, Ordinal, SlotName, TritonName
from conch.local import (
    ENGINES,
    DesiredFile,
    Home,
    LocalSettings,
    Runtime,
    RuntimeMissingError,
    RuntimeSpec,
    ServiceSpec,
    SupervisorMissingError,
    check,
    find,
    launch,
    require,
)
from conch.local.atomic_files import read_json, try_lock, write_json
from conch.local.commands import wanted
from conch.local.deciding import Crashes
from conch.local.desired import Desired, DesiredLoad, LoadInProgress
from conch.local.identities import Identity
from conch.local.instances import Instance, Kind, Phase, Refusal
from conch.local.observed import Observed, read_observed, write_observed
from conch.local.ports import allocate, is_free

A = SlotName("a")
ROOT = Path(__file__).parents[2]
RUNTIME = Runtime(root=Path("/runtime"), library_directory=Path("/lib"))
LOAD = DesiredLoad(
    model=TritonName("m"), ordinal=Ordinal(3), build_id="m-b3", path=Path("/builds/m-b3")
)


def test_desired_state_survives_its_file(tmp_path: Path) -> None:
    """What is written is what is read, services and loads included."""
    home = Home(tmp_path)
    settings = LocalSettings(slots={"a": 2}, tritonserver=Path("/opt/tritonserver"), drain_s=3)
    service = ServiceSpec(
        name="control", argv=("python", "-m", "x"), environment={"K": "v"}, ready_port=9000
    )
    file = DesiredFile(home)
    file.set_up(settings=settings, runtime=RUNTIME, services=(service,))
    progress = LoadInProgress(load=LOAD, pid=7)
    after = file.change(lambda it: it.with_load(A, LOAD, at=5.0).with_loading(A, progress))
    assert file.read() == after
    assert after.load_of(A, TritonName("m")) == LOAD
    assert after.loading == {A: progress}
    assert file.change(lambda it: it.without_load(A, TritonName("m"))).loads == {A: ()}
    again = file.set_up(settings=LocalSettings(), runtime=RUNTIME, services=())
    assert again.loading == {A: progress}, "setting up again keeps what should be loaded"


def test_concurrent_changes_are_all_kept(tmp_path: Path) -> None:
    """Twenty writers at once: each model's load is there afterwards."""
    file = DesiredFile(Home(tmp_path))
    file.set_up(settings=LocalSettings(), runtime=RUNTIME, services=())

    def add(number: int) -> None:
        load = DesiredLoad(
            model=TritonName(f"m{number}"),
            ordinal=Ordinal(1),
            build_id=f"b{number}",
            path=Path("/b"),
        )
        file.change(lambda it: it.with_load(A, load, at=1.0))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {load.model for load in file.require().loads[A]} == {f"m{n}" for n in range(20)}


def test_observed_state_survives_its_file(tmp_path: Path) -> None:
    """Instances, crashes and the port are read back as they were."""
    home = Home(tmp_path)
    instance = Instance(
        name="triton-a-0",
        kind=Kind.TRITON,
        command="c",
        slot=A,
        phase=Phase.READY,
        pid=4,
        started="15@boot",
        ports={"http": 1, "grpc": 2, "metrics": 3},
        asserted={"m": 1},
        refused={"n": Refusal(ordinal=2, reason="no", at=3.0)},
    )
    observed = Observed(
        supervisor=Identity(pid=1, started="20@boot"),
        instances={instance.name: instance},
        crashes=Crashes(counts={"b": 1}, reasons={}),
        inference_port=8080,
    )
    write_observed(home, observed)
    assert read_observed(home) == observed
    assert [one.grpc_port for one in observed.in_service()[A]] == [2]


def test_a_home_without_anything_says_so(tmp_path: Path) -> None:
    """Nothing can be launched, changed or read before it was set up."""
    assert read_observed(Home(tmp_path)) is None
    with pytest.raises(SupervisorMissingError):
        DesiredFile(Home(tmp_path)).change(lambda it: it)
    with pytest.raises(SupervisorMissingError):
        launch(tmp_path)


def test_wanted_instances_follow_slots_and_services() -> None:
    """Each replica, the gateway and each service are wanted; scaling changes no command."""
    service = ServiceSpec(name="control", argv=("x",))
    desired = Desired(
        settings=LocalSettings(slots={"a": 2, "b": 1}), runtime=RUNTIME, services=(service,)
    )
    found = wanted(desired, Home(Path("/home")))
    assert list(found) == ["triton-a-0", "triton-a-1", "triton-b-0", "envoy", "control"]
    more = wanted(desired.with_replicas(A, 3), Home(Path("/home")))
    assert set(more) - set(found) == {"triton-a-2"}
    assert all(more[name].command == found[name].command for name in found)


@pytest.mark.parametrize(
    "change",
    [
        {"slots": {}},
        {"slots": {"a": 0}},
        {"slots": {"a/b": 1}},
        {"inference_port": 70_000},
        {"control_address": "9000"},
        {"drain_s": -1},
        {"typo": 1},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(change: dict[str, Any]) -> None:
    """Bounds are checked and unknown keys are errors."""
    with pytest.raises(InvalidValueError):
        LocalSettings.from_dict({**LocalSettings().as_dict(), **change})


def test_settings_survive_a_dictionary() -> None:
    """Every setting is written and read back."""
    settings = LocalSettings(slots={"x": 3}, control_address="h:1", backend_directory=Path("/b"))
    assert LocalSettings.from_dict(settings.as_dict()) == settings


def test_a_missing_runtime_says_how_to_install_it(tmp_path: Path) -> None:
    """`find` gives None, `require` an error with the command."""
    assert find(tmp_path) is None
    with pytest.raises(RuntimeMissingError) as error:
        require(tmp_path)
    assert error.value.code == "runtime-missing"
    assert "conch runtime install" in error.value.hint


def test_other_pins_are_another_runtime() -> None:
    """The environment's name depends on everything that it is made of."""
    assert RuntimeSpec().digest == RuntimeSpec().digest
    assert RuntimeSpec(requirements=("numpy==1.26.3",)).digest != RuntimeSpec().digest
    assert RuntimeSpec(python="3.12").digest != RuntimeSpec().digest
    assert RuntimeSpec(engines=("torch",)).digest != RuntimeSpec().digest


def test_models_are_served_by_the_pytorch_that_proves_them() -> None:
    """The engine's pin is that of the extra `torch`."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert ENGINES["torch"] in extras["optional-dependencies"]["torch"]


def test_altered_and_missing_files_of_a_runtime_are_found(tmp_path: Path) -> None:
    """`check` names each file that is not the one that was installed."""
    runtime = Runtime(root=tmp_path, library_directory=Path("/lib"))
    assert check(runtime) == [f"{tmp_path} was not installed completely."]
    (tmp_path / "same").write_bytes(b"x")
    (tmp_path / "other").write_bytes(b"y")
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of b"x"
    record = {name: {"bytes": 1, "sha256": digest} for name in ("same", "other", "gone")}
    write_json(tmp_path / "installed.json", {"library_directory": "/lib", "files": record})
    assert check(runtime) == [
        f"{tmp_path / 'gone'} is missing.",
        f"{tmp_path / 'other'} is not the file that was installed.",
    ]


@pytest.mark.real
def test_the_installed_runtime_is_whole(serving_runtime: Runtime) -> None:
    """Files, digests, programs, numpy below 2 and the stub's libraries: all as installed."""
    assert check(serving_runtime) == []
    assert find() == serving_runtime


def test_ports_are_kept_where_free_and_never_given_twice(tmp_path: Path) -> None:
    """A port that somebody took is replaced; the others stay."""
    first = allocate(("http", "grpc"), kept={}, taken=set(), home=tmp_path)
    assert len(set(first.values())) == 2
    assert allocate(("http", "grpc"), kept=first, taken=set(), home=tmp_path) == first
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", first["http"]))
        listener.listen()
        assert not is_free(first["http"])
        second = allocate(("http", "grpc"), kept=first, taken=set(), home=tmp_path)
    assert second["grpc"] == first["grpc"]
    assert second["http"] not in first.values()
    third = allocate(("http",), kept={}, taken=set(first.values()), home=tmp_path)
    assert third["http"] not in first.values()


def test_no_free_port_is_an_error(tmp_path: Path) -> None:
    """An allocation that cannot succeed says so."""
    with pytest.raises(ConflictError):
        allocate(("http",), kept={}, taken=range(70_000), home=tmp_path)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    """A value that is not JSON changes nothing."""
    path = tmp_path / "f.json"
    write_json(path, {"n": 1}, durable=True)
    with pytest.raises(TypeError):
        write_json(path, {"n": object()})
    assert read_json(path) == {"n": 1}
    assert [one.name for one in tmp_path.iterdir()] == ["f.json"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_lock_is_held_until_its_handle_closes(tmp_path: Path) -> None:
    """A second taker gets nothing while the first holds it."""
    handle = try_lock(tmp_path / "lock")
    assert handle is not None
    assert try_lock(tmp_path / "lock") is None
    os.close(handle)
    again = try_lock(tmp_path / "lock")
    assert again is not None
    os.close(again)
