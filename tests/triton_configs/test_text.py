"""`render` and `parse`: text that Triton reads, and back."""

from __future__ import annotations

import pytest
from google.protobuf import text_format

from conch.core import DType
from conch.triton_configs import (
    ConfigSyntaxError,
    ConfigValueError,
    DynamicBatching,
    Input,
    InstanceGroup,
    ModelConfig,
    Reshape,
    ResponseCache,
    SequenceBatching,
    StrategyDirect,
    Warmup,
    WarmupInput,
    parse,
    render,
)
from conch.triton_configs.schema import model_config_class


def test_zero_batch_is_stated() -> None:
    """`max_batch_size: 0` is in the text, although protobuf leaves zeros out."""
    assert "max_batch_size: 0\n" in render(ModelConfig(name="m", backend="python"))


def test_the_text_is_the_message() -> None:
    """What is rendered is what protobuf reads into Triton's own message."""
    config = ModelConfig(
        name="m",
        backend="python",
        max_batch_size=8,
        input=(Input(name="x", data_type=DType.BYTES, dims=(-1, 3)),),
        parameters={"key": "value"},
    )
    message = model_config_class()()
    text_format.Parse(render(config), message)
    assert (message.name, message.max_batch_size) == ("m", 8)
    assert message.input[0].data_type == 13
    assert list(message.input[0].dims) == [-1, 3]
    assert message.parameters["key"].string_value == "value"


def test_the_same_value_gives_the_same_text() -> None:
    """The order in which a map was filled does not show in the text."""
    one = ModelConfig(name="m", parameters={"a": "1", "b": "2"})
    other = ModelConfig(name="m", parameters={"b": "2", "a": "1"})
    assert render(one) == render(other)


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(dynamic_batching=DynamicBatching()),
        ModelConfig(input=(Input(name="x", reshape=Reshape()),)),
        ModelConfig(response_cache=ResponseCache()),
        ModelConfig(
            model_warmup=(Warmup(name="w", inputs={"x": WarmupInput(zero_data=False)}),),
        ),
    ],
    ids=["dynamic_batching", "reshape", "response_cache", "false-in-a-choice"],
)
def test_an_empty_block_is_not_absence(config: ModelConfig) -> None:
    """A block that is present and empty stays present: `dynamic_batching { }` turns batching on."""
    assert parse(render(config)) == config != ModelConfig()


def test_float32_keeps_its_decimal() -> None:
    """0.1 is stored in 32 bits and still read back as 0.1."""
    config = ModelConfig(
        sequence_batching=SequenceBatching(direct=StrategyDirect(minimum_slot_utilization=0.1))
    )
    assert "minimum_slot_utilization: 0.1\n" in render(config)
    assert parse(render(config)) == config


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nam: 'x'", ["line 1, column 1", "ModelConfig", "'nam'", "Did you mean 'name'?"]),
        ("\ninput { q: 3 }", ["line 2, column 9", "ModelInput", "'q'", "dims"]),
        ("name: 'a' name: 'b'", ["name"]),
        ("dynamic_batching {} sequence_batching {}", ["scheduling_choice"]),
        ("instance_group { kind: KIND_TPU }", ["KIND_TPU"]),
        ("max_batch_size: 99999999999", ["99999999999"]),
        ("input {", ["}"]),
    ],
    ids=["typo", "nested", "twice", "two-schedulers", "enum", "range", "unclosed"],
)
def test_what_triton_refuses_is_refused(text: str, words: list[str]) -> None:
    """A text outside the schema is an error that names the place and the field."""
    with pytest.raises(ConfigSyntaxError) as caught:
        parse(text)
    assert [word for word in words if word not in str(caught.value)] == []


def test_an_unnamed_enum_number_is_refused() -> None:
    """Protobuf lets any number through as an enumeration; a typed value does not."""
    with pytest.raises(ConfigValueError, match=r"instance_group\[0\]\.kind is 9"):
        parse("instance_group { kind: 9 }")


@pytest.mark.parametrize(
    ("config", "path"),
    [
        (ModelConfig(max_batch_size=2**40), "max_batch_size"),
        (
            ModelConfig(dynamic_batching=DynamicBatching(), sequence_batching=SequenceBatching()),
            "sequence_batching",
        ),
        (ModelConfig(instance_group=(InstanceGroup(), InstanceGroup(count=2**40))), None),
    ],
    ids=["int32", "choice", "nested"],
)
def test_what_the_schema_cannot_hold_is_refused(config: ModelConfig, path: str | None) -> None:
    """A typed value outside the schema is an error that names its path, never a changed value."""
    with pytest.raises(ConfigValueError) as caught:
        render(config)
    assert caught.value.details["path"] == (path or "instance_group[1].count")
