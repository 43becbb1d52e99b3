"""Serving options in tags: five keys, checked values, errors that name both."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conch.control.registry import ServingTagError, spec_from_tags
from conch.core import ServingSpec

specs = st.integers(0, 4096).flatmap(
    lambda batch: st.builds(
        ServingSpec,
        max_batch_size=st.just(batch),
        queue_delay_us=st.integers(0, 10_000_000),
        instances=st.integers(1, 64),
        preferred_batch_sizes=st.lists(
            st.integers(1, max(1, batch)), min_size=1, max_size=4, unique=True
        ).map(lambda sizes: tuple(sorted(sizes))),
        queue_size=st.integers(0, 1_000_000),
    )
)


@given(spec=specs)
def test_every_option_can_be_said_in_tags(spec: ServingSpec) -> None:
    """Any valid options, written as tags, are read back as they were."""
    tags = {
        "triton.max_batch_size": str(spec.max_batch_size),
        "triton.queue_delay_us": str(spec.queue_delay_us),
        "triton.instances": str(spec.instances),
        "triton.preferred_batch_sizes": ",".join(map(str, spec.preferred_batch_sizes)),
        "triton.queue_size": str(spec.queue_size),
    }
    assert spec_from_tags(tags) == spec


def test_no_tags_are_the_defaults() -> None:
    """Tags outside `triton.` say nothing about serving."""
    assert spec_from_tags({"team": "fraud", "tritonish": "x"}) == ServingSpec()


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("triton.max_batch_size", "many", "0..4096"),
        ("triton.max_batch_size", "-1", "0..4096"),
        ("triton.max_batch_size", "4097", "0..4096"),
        ("triton.max_batch_size", "8.0", "0..4096"),
        ("triton.max_batch_size", "", "0..4096"),
        ("triton.instances", "0", "1..64"),
        ("triton.queue_delay_us", "1e3", "0..10000000"),
        ("triton.queue_size", "9" * 30, "0..1000000"),
        ("triton.preferred_batch_sizes", "4,,8", "1..max_batch_size"),
        ("triton.preferred_batch_sizes", "", "1..max_batch_size"),
        ("triton.colour", "red", "triton.max_batch_size"),
    ],
)
def test_errors_name_the_tag_and_what_is_allowed(key: str, value: str, allowed: str) -> None:
    """A person who reads the error knows which tag to change, and to what."""
    with pytest.raises(ServingTagError) as caught:
        spec_from_tags({key: value})
    assert key in caught.value.message
    assert allowed in caught.value.hint


def test_options_that_do_not_fit_together_are_refused() -> None:
    """A preferred batch beyond the largest is an error, not a surprise at load time."""
    with pytest.raises(ServingTagError, match="preferred_batch_sizes"):
        spec_from_tags({"triton.max_batch_size": "4", "triton.preferred_batch_sizes": "8"})


@given(tags=st.dictionaries(st.text().map("triton.{}".format), st.text(), min_size=1))
def test_arbitrary_tags_fail_only_in_one_way(tags: dict[str, str]) -> None:
    """No tag that a person can type makes anything but `serving-tag-invalid`."""
    with pytest.raises(ServingTagError):
        spec_from_tags(tags)
