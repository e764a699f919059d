"""The other composition root: the real node on simulated time, network and disk, and checkers of what it answered.

Everything here is a function of a seed. Nothing here reads a clock, opens a file or starts a thread; what the node is
told about the world comes from these objects, so that any failure can be replayed (docs/design/0006-simulation.md).
"""
