"""Several simulated machines, one seed: the world of `dkv.testing`, with a network in it that fails."""
