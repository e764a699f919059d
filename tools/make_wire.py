"""Writes src/dkv/wire/descriptors.binpb and messages.pyi from proto/. With --check, only says whether they are current.

The descriptor set holds every file with its imports, in order, without comments. The stub gives each message class
its fields as type checkers see them.
"""

import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
WIRE = ROOT / "src" / "dkv" / "wire"
sys.path.insert(0, str(ROOT / "src"))

from dkv.wire import schema  # noqa: E402  (found on the path set just above)

Field = FieldDescriptorProto
TEXT, BYTES, BOOL, REAL = (
    {Field.TYPE_STRING},
    {Field.TYPE_BYTES},
    {Field.TYPE_BOOL},
    {Field.TYPE_FLOAT, Field.TYPE_DOUBLE},
)

HEADER = '''# ruff: noqa: N803, N815 (the names are those of the wire format)
"""Written by `make proto` from proto/. Do not edit."""

from collections.abc import Iterable, Mapping

from google.protobuf.any_pb2 import Any
from google.protobuf.internal.containers import (
    MessageMap,
    RepeatedCompositeFieldContainer,
    RepeatedScalarFieldContainer,
)
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message
'''


def compile_protos() -> bytes:
    """The descriptor set of all files below proto/."""
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    shipped = Path(grpc_tools.__file__).parent / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "set")
        arguments = ["protoc", f"-I{PROTO}", f"-I{shipped}", f"--descriptor_set_out={out}", "--include_imports", *files]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc refused the files in proto/")
        return out.read_bytes()


class Stub:
    """Turns descriptors into the text of the stub."""

    def __init__(self, files: dict[str, FileDescriptorProto]) -> None:
        self.files = files
        classes, enums = schema.public_names(files)
        self.names = {full_name: name for name, full_name in (classes | enums).items()}
        self.names["google.protobuf.Any"] = "Any"

    def text(self) -> str:
        parts = [HEADER, "\nclass Empty(Message):\n    def __init__(self) -> None: ...\n"]
        for file in self.files.values():
            if file.package not in schema.HIDDEN_PACKAGES:
                parts += (self.top_enum(enum) for enum in file.enum_type)
                parts += (self.message(each, f"{file.package}.{each.name}") for each in file.message_type)
        return "".join(parts)

    @staticmethod
    def top_enum(enum: EnumDescriptorProto) -> str:
        values = "".join(f"    {value.name}: int\n" for value in enum.value)
        return f"\nclass _{enum.name}(EnumTypeWrapper):\n{values}\n{enum.name}: _{enum.name}\n"

    def message(self, message: DescriptorProto, full_name: str) -> str:
        maps = {f".{full_name}.{each.name}": each for each in message.nested_type if each.options.map_entry}
        kinds = [(field, *self.kinds(field, maps)) for field in message.field]
        lines = [f"\nclass {self.names[full_name]}(Message):"]
        for enum in message.enum_type:
            lines.append(f"    {enum.name}: EnumTypeWrapper")
            lines += [f"    {value.name}: int" for value in enum.value]
        lines += [f"    {field.name}: {seen}" for field, seen, _ in kinds]
        lines += self.constructor((field.name, given) for field, _, given in kinds)
        return "\n".join(lines) + "\n"

    @staticmethod
    def constructor(arguments: Iterable[tuple[str, str]]) -> Iterator[str]:
        rows = [f"        {name}: {given} | None = ...," for name, given in arguments]
        if not rows:
            return iter(["    def __init__(self) -> None: ..."])
        return iter(["    def __init__(", "        self,", "        *,", *rows, "    ) -> None: ..."])

    def kinds(self, field: Field, maps: dict[str, DescriptorProto]) -> tuple[str, str]:
        """(type of the attribute, type the constructor takes)."""
        if field.type_name in maps:
            key, value = (self.scalar(each) for each in maps[field.type_name].field)
            return f"MessageMap[{key}, {value}]", f"Mapping[{key}, {value}]"
        kind = self.scalar(field)
        if field.label != Field.LABEL_REPEATED:
            return kind, kind
        composite = "Composite" if field.type == Field.TYPE_MESSAGE else "Scalar"
        return f"Repeated{composite}FieldContainer[{kind}]", f"Iterable[{kind}]"

    def scalar(self, field: Field) -> str:
        if field.type == Field.TYPE_MESSAGE:
            return self.names[field.type_name.removeprefix(".")]
        for kinds, name in ((TEXT, "str"), (BYTES, "bytes"), (BOOL, "bool"), (REAL, "float")):
            if field.type in kinds:
                return name
        return "int"


def main() -> int:
    serialised = compile_protos()
    wanted = {
        schema.DESCRIPTORS: serialised,
        WIRE / "messages.pyi": Stub(schema.parse_files(serialised)).text().encode(),
    }
    if "--check" in sys.argv[1:]:
        stale = [path.name for path, data in wanted.items() if not path.exists() or path.read_bytes() != data]
        if stale:
            print(f"Not current: {', '.join(stale)}. Run make proto.")
        return 1 if stale else 0
    for path, data in wanted.items():
        path.write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
