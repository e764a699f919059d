"""The message classes by name: PutRequest, GetResponse, ... Typed by the stub beside this file.

Made at import from the descriptor set; there are no generated modules and nothing enters protobuf's default pool.
"""

from dkv.wire import schema

globals().update(schema.exports(schema.POOL, schema.FILES))
