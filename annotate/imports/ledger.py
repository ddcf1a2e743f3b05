"""What a dry run would have added so far, on disk, so that later rows of the file are duplicates of earlier ones."""

import sqlite3

from annotate.imports.plan import Known, Plan
from annotate.imports.rows import Draft


class Ledger:
    """Two tables in a private temporary file, which SQLite removes when the connection is closed."""

    def __init__(self) -> None:
        self._tables = sqlite3.connect("", isolation_level=None)
        self._tables.execute("CREATE TABLE there (name TEXT PRIMARY KEY) WITHOUT ROWID")
        self._tables.execute(
            "CREATE TABLE said (key TEXT, annotator TEXT, sha256 TEXT, PRIMARY KEY (key, annotator, sha256))"
        )

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self._tables.close()

    def recall(self, drafts: list[Draft], known: Known) -> None:
        """Add what was learned to what the database knows of these drafts."""
        for draft in drafts:
            if self._is_there(f"prompt {draft.prompt_sha256}"):
                known.prompts.setdefault(draft.prompt_sha256, None)
            if draft.key and self._is_there(f"item {draft.key}"):
                known.items.setdefault(draft.key, None)
            for annotator, sha256 in self._tables.execute(
                "SELECT annotator, sha256 FROM said WHERE key = ?", [draft.key]
            ).fetchall():
                known.said[draft.key].setdefault(annotator, set()).add(sha256)

    def _is_there(self, name: str) -> bool:
        return self._tables.execute("SELECT 1 FROM there WHERE name = ?", [name]).fetchone() is not None

    def learn(self, plan: Plan) -> None:
        names = [[f"prompt {sha256}"] for sha256 in plan.prompts] + [[f"item {key}"] for key in plan.items]
        said = [[draft.key, name, draft.said_sha256] for draft, name in plan.judgements]
        self._tables.execute("BEGIN")
        self._tables.executemany("INSERT OR IGNORE INTO there VALUES (?)", names)
        self._tables.executemany("INSERT OR IGNORE INTO said VALUES (?, ?, ?)", said)
        self._tables.execute("COMMIT")
