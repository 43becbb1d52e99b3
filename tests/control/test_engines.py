"""Models that only PyTorch can run: served where the settings say that the runtime has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from logged_loop import log_loop
from memory_platform import running_memory_platform

from conch.control import platform
from conch.control.settings import (
    BuildSettings,
    ServingSettings,
    SettingsInvalidError,
    read_settings,
)

TRUST = BuildSettings.model_validate({"trust": [{"models": ["halving"]}]})


@pytest.mark.parametrize(
    ("engines", "flavours"),
    [((), {"native"}), (("torch",), {"native", "portable"})],
    ids=["without", "with"],
)
def test_a_scripted_module_has_a_portable_flavour_where_the_runtime_has_pytorch(
    tmp_path: Path, engines: tuple[Any, ...], flavours: set[str]
) -> None:
    """The builds of a platform know what its servers can import."""
    folder = log_loop(tmp_path / "model")
    serving = ServingSettings(engines=engines)
    with running_memory_platform(tmp_path, build=TRUST, serving=serving) as it:
        it.registry.register_folder("halving", folder)
        it.client.sweep()
        version = it.client.wait_verified("halving", 1, timeout_s=60)
        manifest = it.client.build(version["build_id"])["manifest"]
    assert manifest["flavours"].keys() == flavours


def test_the_runtime_is_the_one_that_the_settings_ask_for(tmp_path: Path) -> None:
    """Another engine is another environment; an unknown one is refused."""
    assert platform.runtime_spec(read_settings(home=tmp_path)).engines == ()
    (tmp_path / "conch.toml").write_text('[serving]\nengines = ["torch"]\n')
    assert platform.runtime_spec(read_settings(home=tmp_path)).engines == ("torch",)
    (tmp_path / "conch.toml").write_text('[serving]\nengines = ["jax"]\n')
    with pytest.raises(SettingsInvalidError, match="engines"):
        read_settings(home=tmp_path)
