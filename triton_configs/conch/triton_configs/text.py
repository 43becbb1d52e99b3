"""`config.pbtxt`: the text that Triton reads, written and read through Triton's own schema."""

from __future__ import annotations

import difflib
import re
from typing import Any

from .configs import ModelConfig
from .errors import ConfigSyntaxError
from .mapping import fill, read
from .schema import model_config_class

_HEAD = ("name", "platform", "backend", "runtime")
_UNKNOWN = re.compile(r'Message type "(?P<message>[\w.]+)" has no field named "(?P<field>[^"]+)"')


def render(config: ModelConfig) -> str:
    """Return a configuration as `config.pbtxt` text.

    The same value gives the same text: fields come in the order of the schema and maps in the
    order of their keys. `max_batch_size` is always in the text, 0 too, since a reader cannot see
    whether a missing one was meant.

    Raises:
        ConfigValueError: A value does not fit the schema.

    >>> print(render(ModelConfig(name="digits", backend="python")))
    name: "digits"
    backend: "python"
    max_batch_size: 0
    <BLANKLINE>
    """
    from google.protobuf import text_format

    head, tail = model_config_class()(), model_config_class()()
    fill(tail, config)
    for name in _HEAD:
        setattr(head, name, getattr(tail, name))
        tail.ClearField(name)
    tail.ClearField("max_batch_size")

    def printed(message: Any) -> str:
        text: str = text_format.MessageToString(
            message, as_utf8=True, use_short_repeated_primitives=True, use_index_order=True
        )
        return text

    return f"{printed(head)}max_batch_size: {config.max_batch_size}\n{printed(tail)}"


def parse(text: str) -> ModelConfig:
    """Read `config.pbtxt` text; `render` gives back text that says the same.

    Comments and the order of fields are not kept. Fields that Triton's schema does not have are
    refused, as the server itself does.

    Raises:
        ConfigSyntaxError: The text is not a model configuration.
        ConfigValueError: An enumeration has a number without a name.

    >>> parse('name: "digits" backend: "python" max_batch_size: 8').max_batch_size
    8
    """
    from google.protobuf import text_format

    message = model_config_class()()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise _explained(error, message.DESCRIPTOR) from error
    config: ModelConfig = read(ModelConfig, message)
    return config


def _explained(error: Any, root: Any) -> ConfigSyntaxError:
    line, column = error.GetLine(), error.GetColumn()
    where = {} if line is None else {"line": line, "column": column}
    place = "" if line is None else f" at line {line}, column {column}"
    unknown = _UNKNOWN.search(str(error))
    if unknown is None:
        reason = re.sub(r"^\d+:\d+ : ", "", str(error)).strip().rstrip(".")
        return ConfigSyntaxError(f"config.pbtxt does not parse{place}: {reason}.", **where)
    message, field = unknown["message"], unknown["field"]
    names = _field_names(root, message)
    close = difflib.get_close_matches(field, names, n=1)
    hint = f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join(sorted(names))}."
    return ConfigSyntaxError(
        f"config.pbtxt{place}: {message.removeprefix('inference.')} has no field {field!r}.",
        hint=hint,
        field=field,
        **where,
    )


def _field_names(root: Any, message: str) -> list[str]:
    found = root.file.pool.FindMessageTypeByName(message)
    return [field.name for field in found.fields]
