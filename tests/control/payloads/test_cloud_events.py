"""What KServe's payload logger posts is read; anything else is refused by name."""

from __future__ import annotations

import pytest

from conch.control.payloads import Answered, Asked, PayloadInvalidError, read_payload

HEADERS = {
    "ce-specversion": "1.0",
    "ce-id": "0b6b2a4e-6b1e-4b0e-9a3b-6a6f8b1c2d3e",
    "ce-type": "org.kubeflow.serving.inference.request",
    "ce-source": "digits-a-predictor-7c9f5d8b6-x2x4q",
    "ce-time": "2026-01-02T03:04:05.123456789Z",
    "ce-inferenceservicename": "digits-a",
    "ce-namespace": "models",
    "content-type": "application/json",
}


def test_a_request_and_its_answer() -> None:
    """The same id and pod on both; times to the microsecond."""
    asked = read_payload(HEADERS, empty=False)
    assert asked == Asked(
        id=HEADERS["ce-id"],
        service="digits-a",
        pod="digits-a-predictor-7c9f5d8b6-x2x4q",
        at_s=1767323045.123456,
    )
    kind = "org.kubeflow.serving.inference.response"
    answered = read_payload(
        {**HEADERS, "ce-type": kind, "ce-time": "2026-01-02T04:04:05.2+01:00"}, empty=False
    )
    assert isinstance(answered, Answered)
    assert answered.at_s - asked.at_s == pytest.approx(0.076544, abs=1e-6)


def test_a_request_without_a_body_infers_nothing() -> None:
    """Such as one for a model's metadata, which the logger tells of as well."""
    asked = read_payload(HEADERS, empty=True)
    assert isinstance(asked, Asked)
    assert not asked.infers


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"ce-specversion": "0.3"}, "ce-specversion"),
        ({"ce-type": "org.kubeflow.serving.inference.feedback"}, "feedback"),
        ({"ce-id": ""}, "ce-id"),
        ({"ce-id": "x" * 201}, "ce-id"),
        ({"ce-source": ""}, "ce-source"),
        ({"ce-inferenceservicename": ""}, "ce-inferenceservicename"),
        ({"ce-time": "yesterday"}, "ce-time"),
        ({"ce-time": "2026-01-02T03:04:05"}, "time zone"),
    ],
)
def test_anything_else_is_refused(change: dict[str, str], names: str) -> None:
    """The message names the attribute."""
    with pytest.raises(PayloadInvalidError, match=names):
        read_payload(HEADERS | change, empty=False)
