"""Time: sources (virtual and host), timers and the arithmetic of the pv clock."""
