"""The commands a person types: dkvsrv and dkvctl. Nothing is decided here that a library could decide."""
