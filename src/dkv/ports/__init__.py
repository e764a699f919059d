"""What a node needs from the world, as protocols only. Real and simulated worlds implement the same ones."""
