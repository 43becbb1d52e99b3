"""Where servers fetch builds: addresses, and copies that are whole or not there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from kserve_clusters import build
from kserve_profiles import KNATIVE

from conch.kserve import Site
from conch.kserve.serving.storing import FolderStore, store_of

SITE = Site(profile=KNATIVE, namespace="models", uri="pvc://models/builds/")


@pytest.mark.parametrize(
    ("site", "address"),
    [
        pytest.param(SITE, "pvc://models/builds/digits/digits-build-3", id="put there by others"),
        pytest.param(
            replace(SITE, folder=Path("/nowhere")),
            "pvc://models/builds/digits/digits-build-3",
            id="copied",
        ),
        pytest.param(
            replace(SITE, uri="conch://"),
            f"conch://digits/digits-build-3/{3:064x}",
            id="fetched from conch, with the digest",
        ),
    ],
)
def test_an_address_is_known_before_a_build_is_published(
    site: Site, address: str, tmp_path: Path
) -> None:
    """Rendering and dry runs name the place without touching it."""
    assert store_of(site).address(build(tmp_path, 3)) == address


def test_a_copy_is_whole_and_made_once(tmp_path: Path) -> None:
    """The native flavour goes first; what is there stays; nothing is left over."""
    found = build(tmp_path, 1)
    for flavour in ("native", "portable"):
        (found.path / flavour / "digits").mkdir(parents=True, exist_ok=True)
        (found.path / flavour / "digits" / "config.pbtxt").write_text(flavour)
    store = FolderStore(folder=tmp_path / "store", uri="pvc://models")
    with ThreadPoolExecutor(4) as pool:
        uris = set(pool.map(lambda _: store.publish(found), range(8)))
    assert uris == {store.address(found)}
    place = tmp_path / "store" / "digits" / found.build_id
    assert (place / "digits" / "config.pbtxt").read_text() == "native"
    assert [path.name for path in place.parent.iterdir()] == [found.build_id]
    (place / "mark").touch()
    store.publish(found)
    assert (place / "mark").exists()


def test_a_build_without_the_native_flavour_is_served_as_the_portable_one(tmp_path: Path) -> None:
    """Some formats have no backend of their own."""
    found = build(tmp_path, 2)
    (found.path / "native").rename(found.path / "portable")
    store = FolderStore(folder=tmp_path / "store", uri="pvc://models")
    store.publish(found)
    assert (tmp_path / "store" / "digits" / found.build_id / "digits").is_dir()
