"""How a cluster is formed and how its members change. Pure decisions: others call, write and wait."""
