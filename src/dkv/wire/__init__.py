"""The wire format: one descriptor set in a private pool, message classes, hand-written hot paths, typed errors.

The only importer of protobuf. Nothing is registered in protobuf's default pool, so a user's own copies of these files
(`grpc.health.v1` above all) never collide with ours. Must not know services, replicas or engines.
"""
