"""The descriptor set that `make proto` writes, loaded into a pool of our own."""

from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message_factory import GetMessageClass

DESCRIPTORS = Path(__file__).with_name("descriptors.binpb")
RENAMED = {"google.rpc.Status": "RpcStatus"}
"""Two packages have a Status; the one of the original keeps the name."""
HIDDEN_PACKAGES = ("grpc.reflection.v1alpha", "google.protobuf")
"""v1alpha has the bytes of v1; what protobuf ships need not be named again, but for Empty."""


def parse_files(serialised: bytes) -> dict[str, FileDescriptorProto]:
    """The files by name, each after those it imports."""
    return {file.name: file for file in FileDescriptorSet.FromString(serialised).file}


def make_pool(files: dict[str, FileDescriptorProto]) -> DescriptorPool:
    pool = DescriptorPool()
    for file in files.values():
        pool.Add(file)
    return pool


def public_names(files: dict[str, FileDescriptorProto]) -> tuple[dict[str, str], dict[str, str]]:
    """({name in `messages`: full name} of the messages, the same of the top-level enums)."""
    classes, enums = {"Empty": "google.protobuf.Empty"}, {}
    for file in files.values():
        if file.package in HIDDEN_PACKAGES:
            continue
        for message in file.message_type:
            full_name = f"{file.package}.{message.name}"
            classes[RENAMED.get(full_name, message.name)] = full_name
        enums.update({enum.name: f"{file.package}.{enum.name}" for enum in file.enum_type})
    return classes, enums


def exports(pool: DescriptorPool, files: dict[str, FileDescriptorProto]) -> dict[str, Any]:
    """What `dkv.wire.messages` offers: message classes and enums by name."""
    classes, enums = public_names(files)
    found: dict[str, Any] = {}
    for name, full_name in classes.items():
        found[name] = GetMessageClass(pool.FindMessageTypeByName(full_name))
    for name, full_name in enums.items():
        found[name] = EnumTypeWrapper(pool.FindEnumTypeByName(full_name))
    return found


FILES = parse_files(DESCRIPTORS.read_bytes()) if DESCRIPTORS.exists() else {}
"""Empty only while `make proto` makes the first one."""
POOL = make_pool(FILES)
