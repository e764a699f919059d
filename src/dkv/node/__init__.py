"""The turn: sequencing only, through ports. What is decided is decided in the rooms below."""
