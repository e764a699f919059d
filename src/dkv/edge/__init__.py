"""The native edge: gRPC server and client. The only importer of dkv._native."""

from dkv._native import Bell, EdgeClient, EdgeServer, EdgeStream

__all__ = ["Bell", "EdgeClient", "EdgeServer", "EdgeStream"]
