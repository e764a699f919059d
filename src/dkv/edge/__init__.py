"""The native edge: gRPC server and client, Raft and its log. The only importer of dkv._native."""

from dkv._native import Bell, EdgeClient, EdgeLoopClient, EdgeServer, EdgeStream, Log, PeerLinks, Raft

__all__ = ["Bell", "EdgeClient", "EdgeLoopClient", "EdgeServer", "EdgeStream", "Log", "PeerLinks", "Raft"]
