"""`conch render`: a verified build as files, by a profile; no cluster is asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from command_line import CommandLine
from kserve_profiles import SITE_FILE
from memory_platform import MemoryPlatform

from conch.control.cli import Exit


@pytest.fixture
def conch(memory_platform: MemoryPlatform) -> CommandLine:
    """The command line with the platform's home."""
    return CommandLine(home=memory_platform.folder)


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A profile that serves in the namespace `models`."""
    path = tmp_path / "prod.yaml"
    path.write_text(SITE_FILE.replace("NAMESPACE", "models"))
    return path


def test_a_model_is_rendered_the_same_each_time(
    conch: CommandLine, memory_platform: MemoryPlatform, profile: Path, tmp_path: Path
) -> None:
    """Into a folder, as a stream, as JSON; a file that is not meant any more goes, others stay."""
    memory_platform.live("rendered")
    words = ("render", "rendered", "--profile", str(profile))
    folder = tmp_path / "out"
    first = conch.json(*words, "--to", str(folder))
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert sorted([*kustomization["resources"], "kustomization.yaml"]) == first["files"]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "mine.yaml").write_text("mine: true\n")
    (folder / "old.yaml").write_text("old: true\n")
    kustomization["resources"].append("old.yaml")
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    again = conch.json(*words, "--to", str(folder))
    assert again["removed"] == ["old.yaml"]
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after == {**before, "mine.yaml": b"mine: true\n"}

    files = conch.json(*words)["files"]
    assert {name: text.encode() for name, text in files.items()} == before
    stream = list(yaml.safe_load_all(conch.run(*words).out))
    assert sorted(each["kind"] for each in stream) == [
        "HTTPRoute",
        "InferenceService",
        "NetworkPolicy",
        "ServiceAccount",
        "ServingRuntime",
    ]
    service = next(each for each in stream if each["kind"] == "InferenceService")
    assert service["metadata"]["namespace"] == "models"
    assert service["spec"]["predictor"]["model"]["resources"]["limits"]["cpu"] == "2"
    assert not (tmp_path / "builds").exists()  # nothing was published


@pytest.mark.parametrize(
    ("change", "code", "exits"),
    [
        pytest.param({"serve:": "other:"}, "kserve-profile-invalid", Exit.FAILED, id="unknown key"),
        pytest.param({"cpu:": "cpus:"}, "kserve-profile-invalid", Exit.FAILED, id="nested key"),
        pytest.param({"pvc://": "s3://"}, "kserve-refused", Exit.FAILED, id="scheme not there"),
        pytest.param({"0.19": "0.3"}, "kserve-version-unknown", Exit.FAILED, id="unknown version"),
    ],
)
def test_a_profile_that_cannot_be_is_refused(
    conch: CommandLine,
    memory_platform: MemoryPlatform,
    profile: Path,
    change: dict[str, str],
    code: str,
    exits: Exit,
) -> None:
    """Before the cluster is asked, with the code; JSON holds the hint."""
    name = "refused " + "".join(filter(str.isalnum, "".join(change.values())))
    memory_platform.live(name)
    text = profile.read_text()
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new)
    profile.write_text(text)
    said = conch.run("render", name, "--profile", str(profile), "-o", "json")
    assert said.code == exits
    assert json.loads(said.out)["error"]["code"] == code


def test_a_profile_that_is_not_there(conch: CommandLine, tmp_path: Path) -> None:
    """The file is named."""
    said = conch.run("render", "any", "--profile", str(tmp_path / "missing.yaml"))
    assert (said.code, "profile-unreadable" in said.err) == (Exit.FAILED, True)


def test_a_version_that_is_not_verified(
    conch: CommandLine, memory_platform: MemoryPlatform, profile: Path
) -> None:
    """What was never built is not rendered; the hint says where to look."""
    memory_platform.live("half there")
    words = ("render", "half there", "--profile", str(profile), "--version", "7")
    said = conch.run(*words)
    assert (said.code, "nothing-verified" in said.err) == (Exit.FAILED, True)
    assert "conch models show" in said.err


def test_a_build_folder_stands_in_for_a_platform(
    conch: CommandLine, memory_platform: MemoryPlatform, profile: Path, tmp_path: Path
) -> None:
    """The same text as from the platform; what is no build folder is refused."""
    memory_platform.live("packed")
    words = ("render", "packed", "--profile", str(profile))
    build = memory_platform.client.builds(model="packed")[0]
    alone = CommandLine(home=tmp_path / "nothing runs here")
    assert alone.run(*words, "--build", build["path"]).out == conch.run(*words).out
    other = alone.run("render", "other", "--profile", str(profile), "--build", build["path"])
    assert other.code == Exit.USAGE
    assert alone.run(*words, "--build", str(tmp_path)).code == Exit.FAILED
