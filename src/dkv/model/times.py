"""Moments that mean something of their own. Otherwise times are milliseconds since the Unix epoch."""

NEVER_EXPIRES_TS = (1 << 64) - 1
"""The largest expiry in seconds a client can send. Kept as it is; in milliseconds expiries saturate here."""
