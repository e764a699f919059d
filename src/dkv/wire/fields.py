"""Messages as plain values, under the names of the wire: for output that no program of ours reads back."""

from typing import Any

from google.protobuf.message import Message


def to_fields(message: Message) -> dict[str, Any]:
    """Every field: enums by name, messages as dictionaries. An absent message or optional field is left out."""
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if not field.has_presence or message.HasField(field.name)
    }


def _value(field: Any, value: Any) -> Any:
    return [_one(field, each) for each in value] if field.is_repeated else _one(field, value)


def _one(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return to_fields(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    return value
