"""The hypervisor as plain state machines over shared bytes: hypercalls, events, memory, scheduling, domains."""
