"""Alert lifecycle: a pure state machine over events, commands and time."""
