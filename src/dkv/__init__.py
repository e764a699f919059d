"""DKV: a distributed, durable key-value store."""

__version__ = "0.1.0"
