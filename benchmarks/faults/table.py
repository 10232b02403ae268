"""docs/faults.md from a run: `python -m benchmarks.faults.table build/faults.jsonl` writes its tables anew.

Between the marks `<!-- faults -->` stands the list of faults, made from the catalogue; between `<!-- results -->` what came of the run.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.faults.catalogue import FAULTS
from benchmarks.faults.judge import Outcome, Result
from benchmarks.faults.report import ORDER, demanded, failures, loaded, matrix, sentence
from schemas.generate import between

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
_SHORT: Final = {
    Outcome.ALARM: "{} alarm",
    Outcome.CALL: "{} call",
    Outcome.TOLD: "{} told",
    Outcome.TOLD_ONLY: "{} told only",
    Outcome.LATE: "**{} late**",
    Outcome.UNTRUE: "**{} untrue**",
    Outcome.SILENT: "**{} SILENT**",
}


def catalogue() -> str:
    """The list of faults."""
    rows = "\n".join(f"| {f.group} | {f.name} | {f.device} | {demanded(f)} |" for f in FAULTS)
    return f"| group | fault | what does so | due |\n|---|---|---|---|\n{rows}"


def outcome(results: Sequence[Result]) -> str:
    """One sentence, the table fault × detector, and every failure by fault and danger."""
    columns, rows = matrix(results)
    head = f"| fault | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}"
    body = "\n".join(f"| {name} | {' | '.join(_cell(cells.get(column)) for column in columns)} |" for name, cells in rows.items())
    failed = Counter((r.outcome, r.fault, f"{r.detector}: {r.kind}") for r in failures(results))
    listed = "\n".join(f"- {count} × {why.value}: {fault}, {where}" for (why, fault, where), count in sorted(failed.items())) or "None."
    return f"{sentence(results)}.\n\n{head}\n{body}\n\n### What failed\n\n{listed}"


def _cell(counts: Counter[Outcome] | None) -> str:
    return "–" if counts is None else ", ".join(_SHORT[o].format(counts[o]) for o in ORDER if counts[o])


def filled(text: str, name: str, content: str) -> str:
    """`text` with `content` between the marks of `name`; ValueError without them."""
    return between(text, f"<!-- {name} -->\n", f"{content}\n", f"<!-- /{name} -->\n")


def main(argv: Sequence[str]) -> int:
    """Write the tables; the results stay as they are without a file of results."""
    text = filled(PAGE.read_text(encoding="utf-8"), "faults", catalogue())
    if argv:
        text = filled(text, "results", outcome(loaded(Path(argv[0]))))
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
