"""One module a gRPC service: bytes -> request -> decision -> reply. They decide; the node performs."""
