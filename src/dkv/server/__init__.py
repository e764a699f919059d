"""The composition root of real nodes: settings -> a node with real ports, signals, folder lock."""
