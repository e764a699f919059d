"""Backups in folders: their format, and the process that copies and checks their files.

What copies is a child process, so that the node's interpreter never waits for a byte (INVARIANTS 16, 17). The parts of
the child know no engine; only `rows` opens one.
"""
