"""The message classes by name: PutRequest, GetResponse, ... Typed by the stub beside this file.

Made from the descriptor set when the first one is asked for, as loading protobuf takes longer than many a command.
There are no generated modules and nothing enters protobuf's default pool.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    from dkv.wire import schema

    found = schema.exports(schema.POOL, schema.FILES)
    globals().update(found)
    if name not in found:
        raise AttributeError(f"no message is called {name!r}")
    return found[name]
