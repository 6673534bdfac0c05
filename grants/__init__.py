"""Grant tables: entries, active counts, maptrack, and the operations on them."""
