"""What a user touches: configuration, consoles, reports, the control interface and the pytest plugin."""
