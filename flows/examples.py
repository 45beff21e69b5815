"""Specs to start from: the templates of `voltloop init`, and the demo."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from flows.lab import Lab
from orchestrator.domain.campaign_spec import CAMPAIGN_NAME, Budget, CampaignSpec, CyclerSpec
from orchestrator.domain.errors import Fault, SpecError
from orchestrator.domain.spec_file import read_spec

TEMPLATES = {"fast-charge": (), "materials": ("cathodes.csv",), "replay": ()}


def write_template(name: str, template: str, out: Path) -> list[Path]:
    """Write a spec named `name`, and the tables it needs beside it.

    Returns:
        The files written.

    Raises:
        SpecError: unknown template, unusable name, or a file that is there already; nothing was written.
    """
    if template not in TEMPLATES:
        raise SpecError(Fault("--template", f"'{template}' is no template.", f"Known: {', '.join(TEMPLATES)}."))
    if not CAMPAIGN_NAME.match(name):
        raise SpecError(Fault("NAME", f"'{name}' is not a usable name.", "Use up to 80 letters, digits, . _ and -, no spaces."))
    folder = files("flows") / "templates"
    text = re.sub(r'(?m)^name = ".*"$', f'name = "{name}"', (folder / f"{template}.toml").read_text(), count=1)
    content = {out: text, **{out.parent / table: (folder / table).read_text() for table in TEMPLATES[template]}}
    for path in content:
        if path.exists():
            raise SpecError(f"'{path}' is there already; it is left as it is. Choose another file with -o.")
    if not out.parent.is_dir():
        raise SpecError(f"there is no folder '{out.parent}' to write '{out.name}' into.")
    for path, written in content.items():
        path.write_text(written, encoding="utf-8")
    return list(content)


def demo_spec(*, trials: int = 24, channels: int = 8, seed: int = 0, strategy: str | None = None) -> CampaignSpec:
    """The demo's campaign: the fast-charge template with its size and seed."""
    spec = read_spec(Path(str(files("flows") / "templates" / "fast-charge.toml")))
    cycler = CyclerSpec("sim", "simulated", {"channels": channels, "seed": seed})
    changed = replace(spec, name=f"demo-seed{seed}", seed=seed, budget=Budget(trials=trials), cyclers=(cycler,))
    return changed if strategy is None else replace(changed, strategy=strategy)  # type: ignore[arg-type]


def free_name(lab: Lab, spec: CampaignSpec) -> CampaignSpec:
    """The spec under a name that the lab does not have yet."""
    taken = {campaign.name for campaign in lab.store.campaigns()}
    names = (spec.name if n == 1 else f"{spec.name}-{n}" for n in range(1, len(taken) + 2))
    return replace(spec, name=next(name for name in names if name not in taken))
