"""What --json prints: one document a line, UTF-8, names as in the messages.

Bytes are text when they are UTF-8. When they are not, the field is called `nameBase64` instead of `name`: exactly one
of the two is there, so that no value can be taken for another.
"""

import base64
import json
from collections.abc import Mapping


def line(fields: Mapping[str, object]) -> bytes:
    """A document and its newline."""
    return json.dumps(_object(fields), ensure_ascii=False, separators=(", ", ": ")).encode() + b"\n"


def _object(fields: Mapping[str, object]) -> dict[str, object]:
    return dict(_member(name, value) for name, value in fields.items())


def _member(name: str, value: object) -> tuple[str, object]:
    match value:
        case bytes():
            try:
                return name, value.decode()
            except UnicodeDecodeError:
                return f"{name}Base64", base64.b64encode(value).decode()
        case Mapping():
            return name, _object(value)
        case list():
            return name, [_object(each) if isinstance(each, Mapping) else each for each in value]
        case _:
            return name, value
