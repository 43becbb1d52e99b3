"""The sweep: a plan, once carried out, leaves nothing to do; absence takes nothing away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.control.registry import (
    ChangedModel,
    ChangedVersion,
    KnownModel,
    KnownVersion,
    NewModel,
    NewVersion,
    Orphaned,
    RegisteredModel,
    RegisteredVersion,
    RegistrySnapshot,
    Replaced,
    Returned,
    SweepPlan,
    TakeUp,
    TakeUpMode,
    TakeUpPolicy,
    diff,
)

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALL = TakeUpPolicy()
ALIAS = TakeUpPolicy(mode=TakeUpMode.ALIAS)
TAG = TakeUpPolicy(mode=TakeUpMode.TAG)

Known = tuple[tuple[KnownVersion, ...], tuple[KnownModel, ...]]


def version(number: int = 1, *, name: str = "m", **facts: Any) -> RegisteredVersion:
    return RegisteredVersion(
        **{"name": name, "number": number, "run_id": "r", "created_at": NOW, **facts}
    )


def snapshot(*versions: RegisteredVersion) -> RegistrySnapshot:
    names = sorted({item.name for item in versions})
    return RegistrySnapshot(
        models=tuple(RegisteredModel(name=name) for name in names),
        versions=versions,
        taken_at=NOW,
    )


def known(seen: RegisteredVersion, **facts: Any) -> KnownVersion:
    return replace(
        KnownVersion(
            name=seen.name,
            number=seen.number,
            identity=seen.identity,
            tags=seen.tags,
            aliases=seen.aliases,
        ),
        **facts,
    )


def carried_out(
    plan: SweepPlan, before: Sequence[KnownVersion], models: Sequence[KnownModel]
) -> Known:
    """Do with values what the reconciler does with rows: a change at a time, in order."""
    rows = {(item.name, item.number): item for item in before}
    names = {item.name: item for item in models}
    for change in plan:
        match change:
            case NewModel(model=model) | ChangedModel(model=model):
                names[model.name] = KnownModel(name=model.name, tags=model.tags)
            case NewVersion(version=seen) | Replaced(version=seen):
                rows[seen.name, seen.number] = known(seen)
            case ChangedVersion(version=seen):
                row = rows[seen.name, seen.number]
                rows[seen.name, seen.number] = replace(row, tags=seen.tags, aliases=seen.aliases)
            case Orphaned(name=name, number=number):
                rows[name, number] = replace(rows[name, number], present=False)
            case Returned(name=name, number=number):
                rows[name, number] = replace(rows[name, number], present=True)
            case TakeUp(name=name, number=number):
                rows[name, number] = replace(rows[name, number], taken_up=True)
    return tuple(rows.values()), tuple(names.values())


tags = st.dictionaries(
    st.sampled_from(["deploy", "triton.instances", "conch.status"]),
    st.sampled_from(["triton", "1", "2"]),
    max_size=2,
)
numbers = st.integers(1, 4)
names = st.sampled_from(["m", "n", "left-out"])
aliases = st.lists(st.sampled_from(["champion", "shadow"]), unique=True).map(
    lambda found: tuple(sorted(found))
)
versions = st.builds(
    version,
    numbers,
    name=names,
    run_id=st.sampled_from(["r", "other"]),
    created_at=st.sampled_from([NOW, NOW + timedelta(days=1)]),
    status=st.sampled_from(["READY", "READY", "PENDING_REGISTRATION"]),
    tags=tags,
    aliases=aliases,
)
version_lists = st.lists(versions, max_size=8, unique_by=lambda item: (item.name, item.number))
snapshots = st.builds(
    lambda listed, extra: RegistrySnapshot(
        models=tuple(
            RegisteredModel(name=name, tags=extra.get(name, {}))
            for name in sorted({item.name for item in listed} | extra.keys())
        ),
        versions=tuple(listed),
        taken_at=NOW,
    ),
    version_lists,
    st.dictionaries(names, tags, max_size=3),
)
known_lists = st.lists(
    st.builds(
        lambda seen, present, taken_up: known(seen, present=present, taken_up=taken_up),
        versions,
        st.booleans(),
        st.booleans(),
    ),
    max_size=8,
    unique_by=lambda item: (item.name, item.number),
)
model_lists = st.lists(
    st.builds(KnownModel, name=names, tags=tags), max_size=3, unique_by=lambda item: item.name
)
policies = st.sampled_from(
    [
        replace(policy, exclude=exclude)
        for policy in (ALL, ALIAS, TAG)
        for exclude in ((), ("left-*",))
    ]
)


@given(shown=snapshots, before=known_lists, models=model_lists, policy=policies)
def test_a_plan_carried_out_leaves_nothing_to_do(
    shown: RegistrySnapshot,
    before: list[KnownVersion],
    models: list[KnownModel],
    policy: TakeUpPolicy,
) -> None:
    """Whatever conch knew and the registry shows, the second sweep is empty."""
    plan = diff(shown, before, policy, models=models)
    after, names_after = carried_out(plan, before, models)
    assert diff(shown, after, policy, models=names_after).changes == ()


@given(shown=snapshots, before=known_lists, models=model_lists, policy=policies, data=st.data())
def test_the_order_of_listing_does_not_matter(
    shown: RegistrySnapshot,
    before: list[KnownVersion],
    models: list[KnownModel],
    policy: TakeUpPolicy,
    data: st.DataObject,
) -> None:
    """Shuffling what is listed and what is known gives the same plan, in the same order."""
    shuffled = replace(
        shown,
        models=tuple(data.draw(st.permutations(shown.models))),
        versions=tuple(data.draw(st.permutations(shown.versions))),
    )
    assert diff(
        shuffled,
        data.draw(st.permutations(before)),
        policy,
        models=data.draw(st.permutations(models)),
    ) == diff(shown, before, policy, models=models)


@given(before=known_lists, models=model_lists, policy=policies)
def test_an_empty_registry_orphans_and_does_nothing_else(
    before: list[KnownVersion], models: list[KnownModel], policy: TakeUpPolicy
) -> None:
    """A registry restored to nothing marks what was present; what is taken up stays taken up."""
    plan = diff(snapshot(), before, policy, models=models)
    there = {(item.name, item.number) for item in before if item.present}
    assert {
        (change.name, change.number) for change in plan if isinstance(change, Orphaned)
    } == there
    assert len(plan.changes) == len(there)
    after, _ = carried_out(plan, before, models)
    assert {(v.name, v.number) for v in after if v.taken_up} == {
        (v.name, v.number) for v in before if v.taken_up
    }


@given(shown=snapshots, before=known_lists, policy=policies)
def test_only_ready_versions_of_covered_models_are_taken_up(
    shown: RegistrySnapshot, before: list[KnownVersion], policy: TakeUpPolicy
) -> None:
    """Nothing half-registered, left out or absent is ever taken up."""
    ready = {(v.name, v.number) for v in shown.versions if v.status == "READY"}
    for change in diff(shown, before, policy):
        if isinstance(change, TakeUp):
            assert (change.name, change.number) in ready
            assert policy.covers(change.name)


def test_a_new_version_is_known_before_it_is_taken_up() -> None:
    """The plan's order can be carried out as it stands."""
    first = version()
    shown = snapshot(first)
    assert diff(shown, (), ALL).changes == (
        NewModel(model=shown.models[0]),
        NewVersion(version=first),
        TakeUp(name="m", number=1, why="every new version is taken up"),
    )


def test_own_tags_are_no_change() -> None:
    """What conch wrote back into the registry does not come back as news."""
    before = known(version(tags={"team": "fraud"}), taken_up=True)
    shown = snapshot(version(tags={"team": "fraud", "conch.status": "serving"}))
    assert not diff(shown, [before], ALL)


def test_another_tag_is_a_change() -> None:
    """A tag that a person sets is news, although MLflow moves no timestamp for it."""
    changed = version(tags={"triton.max_batch_size": "8"})
    assert diff(snapshot(changed), [known(version(), taken_up=True)], ALL).changes == (
        ChangedVersion(version=changed),
    )


@pytest.mark.parametrize(
    "facts",
    [
        {"run_id": "another"},
        {"model_id": "m-2"},
        {"source": "models:/m-2"},
        {"created_at": NOW + timedelta(milliseconds=1)},
    ],
    ids=["run", "logged model", "source", "moment"],
)
def test_a_number_given_again_is_another_version(facts: dict[str, Any]) -> None:
    """A version deleted and made anew under its number is told by any fact that differs."""
    before = known(version(), taken_up=True)
    anew = version(**facts)
    assert diff(snapshot(anew), [before], ALL).changes == (
        Replaced(version=anew, previous_identity=before.identity),
        TakeUp(name="m", number=1, why="every new version is taken up"),
    )


def test_a_recreated_model_starts_again_at_one() -> None:
    """A model made anew is taken up from its first version, however far its namesake got."""
    before = [known(version(n), taken_up=True) for n in (1, 2, 3)]
    anew = version(1, run_id="another")
    assert diff(snapshot(anew), before, ALL).changes == (
        Replaced(version=anew, previous_identity=before[0].identity),
        Orphaned(name="m", number=2),
        Orphaned(name="m", number=3),
        TakeUp(name="m", number=1, why="every new version is taken up"),
    )


def test_a_version_that_comes_back_is_returned_and_not_taken_up_again() -> None:
    """The end of a registry's outage causes no builds."""
    before = known(version(), present=False, taken_up=True)
    assert diff(snapshot(version()), [before], ALL).changes == (Returned(name="m", number=1),)


def test_old_versions_of_a_model_that_is_new_to_conch_are_left_alone() -> None:
    """Connecting to a registry with a long past builds the newest version of each model only."""
    shown = snapshot(*(version(n) for n in range(1, 9)))
    taken = [change.number for change in diff(shown, (), ALL) if isinstance(change, TakeUp)]
    assert taken == [8]


def test_every_version_after_the_one_in_use_is_taken_up() -> None:
    """Two versions registered between two sweeps are both taken up."""
    before = [known(version(1)), known(version(2), taken_up=True)]
    shown = snapshot(*(version(n) for n in (1, 2, 3, 4)))
    taken = [change.number for change in diff(shown, before, ALL) if isinstance(change, TakeUp)]
    assert taken == [3, 4]


def test_an_alias_that_moves_back_takes_the_old_version_up_again() -> None:
    """Moving the alias in the registry is how a person goes back, so it counts anew."""
    before = [
        known(version(1), taken_up=True),
        known(version(2, aliases=("champion",)), taken_up=True),
    ]
    back = snapshot(version(1, aliases=("champion",)), version(2))
    assert diff(back, before, ALIAS).changes == (
        ChangedVersion(version=back.versions[0]),
        ChangedVersion(version=back.versions[1]),
        TakeUp(name="m", number=1, why="alias 'champion'"),
    )


def test_losing_the_alias_takes_nothing_out_of_service() -> None:
    """An alias that disappears is a changed version and no more."""
    before = known(version(aliases=("champion",)), taken_up=True)
    assert diff(snapshot(version()), [before], ALIAS).changes == (
        ChangedVersion(version=version()),
    )


def test_the_tag_policy_wants_the_exact_value() -> None:
    """Another value under the policy's key is another word."""
    shown = snapshot(version(1, tags={"deploy": "no"}), version(2, tags={"deploy": "triton"}))
    taken = [change.number for change in diff(shown, (), TAG) if isinstance(change, TakeUp)]
    assert taken == [2]
