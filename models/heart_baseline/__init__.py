"""Personal heart-rate baseline."""
