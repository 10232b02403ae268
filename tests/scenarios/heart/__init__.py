"""Scenarios of the heart detector."""
