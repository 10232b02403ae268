"""Speed, as ratios within one run: the machine is shared, so seconds alone mean nothing."""
