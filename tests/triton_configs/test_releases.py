"""`triton_release`: which server a text names."""

from __future__ import annotations

import pytest

from conch.triton_configs import UnknownTritonError, triton_release


@pytest.mark.parametrize(
    ("server", "container"),
    [
        ("2.18.0", (22, 1)),
        ("2.29.0", (22, 12)),
        ("2.41.0", (23, 12)),
        ("2.42.0", (24, 1)),
        ("2.51.0", (24, 10)),
        ("2.55.0", (25, 2)),
        ("2.59.0", (25, 6)),
        ("2.59.1", (25, 7)),
        ("2.60.0", (25, 8)),
        ("2.65.0", (26, 1)),
        ("2.71.0", (26, 7)),
    ],
)
def test_a_server_version_names_its_container(server: str, container: tuple[int, int]) -> None:
    """Server versions map to containers as in the `VERSION` maps of the server's tags."""
    assert triton_release(server).release == container


def test_a_flavour_decides_the_backends() -> None:
    """The same release has other backends in another image."""
    assert triton_release("26.05-pyt-python-py3").backends == {"python", "pytorch"}
    assert triton_release("2.51.0-python").backends == {"python"}
    assert not triton_release("2.51.0-python").has_gpu
    assert "tensorrt" in triton_release("26.05").backends
    assert "tensorrt" not in triton_release("26.05-cpu-only").backends


def test_tensorflow_left_with_25_03() -> None:
    """25.02 has the TensorFlow backend and 25.03 has not."""
    assert "tensorflow" in triton_release("25.02").backends
    assert "tensorflow" not in triton_release("25.03").backends
    assert "tensorflow" not in triton_release("25.02-python").backends


@pytest.mark.parametrize("text", ["", "latest", "26.13", "3.0.0", "20.03", "2.5.0", "26.05-fat"])
def test_anything_else_is_refused(text: str) -> None:
    """A text that names no known release or flavour is an error that says what would."""
    with pytest.raises(UnknownTritonError) as caught:
        triton_release(text)
    assert caught.value.hint
