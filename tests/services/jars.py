"""Java programs for tests: their jars are fetched once with Maven and kept under ~/.cache."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

_TUNING: Final = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
"""Small and quick to start rather than quick in the long run."""


class Jars(NamedTuple):
    """What a pom under deploy/ names; `artifact` is the one whose version counts, `cache` the folder under ~/.cache."""

    what: str
    pom: Path
    artifact: str
    cache: str

    def missing(self) -> str | None:
        """Why the program cannot run here; None when it can."""
        if shutil.which("java") is None:
            return f"{self.what} needs Java 17 or newer: java is not installed"
        if not self.folder.is_dir() and shutil.which("mvn") is None:
            return f"{self.what}'s jars are not cached, and mvn, which would fetch them, is not installed"
        return None

    @property
    def folder(self) -> Path:
        """Where they are kept, by version."""
        found = re.search(rf"<artifactId>{re.escape(self.artifact)}</artifactId>\s*<version>([^<]+)</version>", self.pom.read_text())
        if found is None:
            raise RuntimeError(f"{self.pom} names no version of {self.artifact}")
        return Path.home() / ".cache" / self.cache / found.group(1)

    def resolved(self) -> Path:
        """The folder of the jars, fetched the first time. RuntimeError says what Maven said."""
        jars = self.folder
        if jars.is_dir():
            return jars
        jars.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=jars.parent))
        command = ["mvn", "-q", "-B", "-f", str(self.pom), "dependency:copy-dependencies", f"-DoutputDirectory={draft}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(draft)
            raise RuntimeError(f"Maven could not fetch {self.what}: {done.stdout[-2000:]}{done.stderr[-500:]}")
        try:
            draft.rename(jars)
        except OSError:  # another run was first
            shutil.rmtree(draft)
        return jars

    def java(self, main: str, *arguments: str, **properties: object) -> list[str]:
        """The command that runs class `main`; dots of a property's name are written as underscores."""
        given = [f"-D{name.replace('_', '.')}={value}" for name, value in properties.items()]
        return ["java", *_TUNING, *given, "-cp", f"{self.resolved()}/*", main, *arguments]
