"""The parts of dkvctl: its table of commands, its command line, and what each command does and prints."""
