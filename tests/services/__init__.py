"""Real services for tests, started on free loopback ports in a folder of their own and ended with the test."""
