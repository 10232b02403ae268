"""A simulated nursing home ward: plausible signals, scripted incidents with their truth, and a troubled network."""
