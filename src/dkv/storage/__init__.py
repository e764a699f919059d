"""Engines behind the Store port, and the folder they live in. The only importers of rocksdict.

An engine decides nothing: it keeps rows in byte order, and tells when they are on disk.
"""
