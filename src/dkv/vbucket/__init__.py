"""One replica of one vBucket: what to propose, what a committed entry changes, what a row means. Decisions only."""
