"""Every RPC the server answers. A method's number is its place in METHODS; numbers live within one process only."""

PUT_PATH = "/dkv.serverpb.DKV/Put"
DELETE_PATH = "/dkv.serverpb.DKV/Delete"
GET_PATH = "/dkv.serverpb.DKV/Get"
MULTI_GET_PATH = "/dkv.serverpb.DKV/MultiGet"
MULTI_PUT_PATH = "/dkv.serverpb.DKV/MultiPut"
ITERATE_PATH = "/dkv.serverpb.DKV/Iterate"
COMPARE_AND_SET_PATH = "/dkv.serverpb.DKV/CompareAndSet"
DELETE_RANGE_PATH = "/dkv.v1.KV/DeleteRange"
LIMITS_PATH = "/dkv.v1.KV/Limits"
HEALTH_CHECK_PATH = "/grpc.health.v1.Health/Check"
HEALTH_WATCH_PATH = "/grpc.health.v1.Health/Watch"
REFLECTION_PATH = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
REFLECTION_ALPHA_PATH = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
GET_STATUS_PATH = "/dkv.serverpb.DKVDiscoveryNode/GetStatus"

METHODS: tuple[tuple[str, bool], ...] = (
    (PUT_PATH, False),
    (DELETE_PATH, False),
    (GET_PATH, False),
    (MULTI_GET_PATH, False),
    (MULTI_PUT_PATH, False),
    (ITERATE_PATH, True),
    (COMPARE_AND_SET_PATH, False),
    (DELETE_RANGE_PATH, False),
    (LIMITS_PATH, False),
    (HEALTH_CHECK_PATH, False),
    (HEALTH_WATCH_PATH, True),
    (REFLECTION_PATH, True),
    (REFLECTION_ALPHA_PATH, True),
    (GET_STATUS_PATH, False),
)
"""(path, whether the reply is a stream), by method number."""

(
    PUT,
    DELETE,
    GET,
    MULTI_GET,
    MULTI_PUT,
    ITERATE,
    COMPARE_AND_SET,
    DELETE_RANGE,
    LIMITS,
    HEALTH_CHECK,
    HEALTH_WATCH,
    REFLECTION,
    REFLECTION_ALPHA,
    GET_STATUS,
) = range(len(METHODS))

SERVICES: tuple[str, ...] = tuple(sorted({path.split("/")[1] for path, _ in METHODS}))
"""Fully qualified names of the services with at least one method here."""
