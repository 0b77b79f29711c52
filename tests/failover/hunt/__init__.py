"""Many sessions of all kinds at once, random faults, and what must be true of each session."""
