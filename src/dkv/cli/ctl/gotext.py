"""The text of a failed call as Go clients print it, which people and scripts search."""

from dkv.model.errors import Code, DkvError


def go_text(error: DkvError) -> str:
    """Such as `rpc error: code = InvalidArgument desc = Key cannot be empty`."""
    return f"rpc error: code = {go_name(error.code)} desc = {error}"


def go_name(code: Code) -> str:
    """Such as InvalidArgument."""
    if code == Code.OK:
        return "OK"
    if code == Code.CANCELLED:
        return "Canceled"
    return "".join(word.capitalize() for word in code.name.split("_"))
