"""Whose models may run code: by name and by who registered them; nobody's by default."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from logged_code import Halving, log_code
from memory_platform import running_memory_platform

from conch.control.client import ApiError
from conch.control.settings import BuildSettings, SettingsInvalidError, read_settings
from conch.control.trusting import TrustRule, advice, said, trusted_by

RULES = (
    TrustRule(models=("fraud-*",), users=("ada", "ci-*")),
    TrustRule(models=("digits",)),
)


@pytest.mark.parametrize(
    ("model", "user", "trusted"),
    [
        ("fraud-eu", "ada", True),
        ("fraud-eu", "ci-7", True),
        ("fraud-eu", "bob", False),
        ("fraud-eu", "", False),
        ("fraud", "ada", False),
        ("FRAUD-eu", "ada", False),
        ("digits", "", True),
        ("digits", "bob", True),
        ("digits-2", "ada", False),
    ],
)
def test_both_parts_of_a_line_have_to_match(model: str, user: str, trusted: bool) -> None:
    """A line that names users never trusts a version of nobody's; case counts."""
    assert (trusted_by(RULES, model=model, user=user) is not None) is trusted


def test_nobody_is_trusted_by_default(tmp_path: Path) -> None:
    """The setting is empty."""
    settings = read_settings(home=tmp_path)
    assert settings.build.trust == ()
    assert trusted_by((), model="digits", user="ada") is None


def test_the_advice_is_a_working_setting(tmp_path: Path) -> None:
    """What a refusal tells the operator to write can be pasted into `conch.toml`."""
    text = advice(model="fraud-eu", user="ada")
    start = text.index("[[")
    (tmp_path / "conch.toml").write_text(text[start : text.rindex("]") + 1])
    (rule,) = read_settings(home=tmp_path).build.trust
    assert (rule.models, rule.users) == (("fraud-eu",), ("ada",))


def test_a_line_without_models_is_refused(tmp_path: Path) -> None:
    """A line that forgot its models would otherwise look like one for all of them."""
    (tmp_path / "conch.toml").write_text('[[build.trust]]\nusers = ["ada"]\n')
    with pytest.raises(SettingsInvalidError, match="models"):
        read_settings(home=tmp_path)


def test_the_report_says_who_was_trusted() -> None:
    """The user is named where the line is about users."""
    assert "'ada'" in said(RULES[0], user="ada")
    assert "digits" in said(RULES[1], user="bob")


def test_stored_code_is_built_on_the_operators_word_only(tmp_path: Path) -> None:
    """One model under two names: the report of one says whose word it was, the other is refused."""
    rows = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
    folder = log_code(tmp_path / "model", Halving(), rows)
    trust = [{"models": ["known"], "users": ["ada"]}]
    with running_memory_platform(
        tmp_path, build=BuildSettings.model_validate({"trust": trust})
    ) as platform:
        for name in ("known", "stranger"):
            platform.registry.register_folder(name, folder)
        platform.client.sweep()
        version = platform.client.wait_verified("known", 1, timeout_s=60)
        build = platform.client.build(version["build_id"])
        with pytest.raises(ApiError) as refusal:
            platform.client.wait_verified("stranger", 1, timeout_s=60)
    steps = {step["name"]: step["reason"] for step in build["manifest"]["steps"]}
    assert "registered by 'ada'" in steps["stored-code"]
    assert refusal.value.code == "pickled-model"
    assert "[[build.trust]]" in refusal.value.hint
