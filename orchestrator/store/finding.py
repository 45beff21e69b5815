"""What a check of a lab finds: where, what is wrong, and who can mend it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# "person": somebody must look. "repair": `voltloop db check --repair` mends it. "itself": the lab does, in its own time.
Mend = Literal["person", "repair", "itself"]


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        kind: the class of fault, one word.
        where: the trial, channel, campaign or file.
        problem: what is wrong.
        remedy: what to do.
        mend: who can mend it.
        subject: what a repair needs to know; rows by id.
    """

    kind: str
    where: str
    problem: str
    remedy: str
    mend: Mend = "person"
    subject: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.where}: {self.problem} {self.remedy}"

    def to_json(self) -> dict[str, str]:
        """Everything but the subject."""
        return {name: getattr(self, name) for name in ("kind", "where", "problem", "remedy", "mend")}
