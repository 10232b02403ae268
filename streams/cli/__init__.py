"""The command `vigil`, a file a command."""

from __future__ import annotations


def main() -> None:
    """Entry point."""
    from streams.cli.main import app

    app()
