"""Where results go: one interface, one attempt, an answer for every item; one wrapper that retries, spools and buries."""
