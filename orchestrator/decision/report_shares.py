"""What explains each outcome: the shares of groups of features, as a table with bars."""

from __future__ import annotations

from html import escape

from orchestrator.decision.report_data import ReportData
from orchestrator.decision.wording import label

_BAR_WIDTH = 160
_WORDS = {"together": "groups together", "other": "everything else"}


def shares(data: ReportData) -> str:
    """One row for each metric and group; empty where the spec names no groups."""
    rows = "".join(
        f'<tr><th scope="row">{escape(label(metric)) if first else ""}</th><td>{escape(_WORDS.get(group, group))}</td>'
        f"<td>{100 * share.mean:.0f} &plusmn; {100 * share.sem:.0f} %</td><td>{_bar(share.mean)}</td></tr>"
        for metric, groups in data.kernel_shares.items()
        for first, (group, share) in zip([True] + [False] * len(groups), groups.items(), strict=False)
    )
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("outcome", "group of features", "share", ""))
    return f'<p class="muted">{_CAPTION}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _bar(share: float) -> str:
    filled = f'<rect width="{_BAR_WIDTH * share:.1f}" height="10" fill="var(--front)"/>'
    return f'<svg width="{_BAR_WIDTH}" height="10" aria-hidden="true">{filled}</svg>'


_CAPTION = (
    "The share of each outcome's variance, over the candidates tested, that the surrogate ascribes to each group of features, "
    "with one standard deviation. What groups do together is what none does alone. A share says what goes with the outcome "
    "among these candidates, not what causes it."
)
