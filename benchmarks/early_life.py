"""Early prediction, on real data: how good, how sure, and beside what was published.

    OMP_NUM_THREADS=1 python benchmarks/early_life.py [--out DIR] [--parts life,formula,others,trajectories,methods,coverage,loop]

`--out DIR` writes `test2_life.csv`, `xjtu_predictions.csv`, `attia_validation_predictions.csv` and `test2_trajectories.csv`;
without `--parts` it then leaves out `loop`. The parts:

    life          Severson's cells: the baseline, `auto` (chosen on train alone, run on test1), glitched curves, another batch
    formula       expected error of least squares beside Monte Carlo
    others        XJTU's cells from their charges; the lives of Attia's validation protocols
    trajectories  capacity to the end of life (early_life_trajectories.py)
    methods       multi-task, transfer, kernel fusion (early_life_methods.py)
    coverage      90 % intervals over 50 cell-grouped splits of the 84 open cells (minutes)
    loop          campaigns that stop tests early (early_life_loop.py)
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import early_life_cells as cells
from benchmarks import early_life_others as others
from benchmarks.tables import keep, show

Out = Path | None


def life(out: Out) -> None:
    """Severson's cells."""
    rows, chosen, shifted = cells.life_table()
    _told(rows, "Cycle life of Severson's cells from their first 100 cycles (test1 without its outlier)", "early_life")
    show(chosen, "Who serves: absolute errors of log10 life, out of fold, on the training cells; each beside the baseline")
    _told(shifted, "Learned from one batch, asked about the other (training cells)", "early_life_shift")
    _told(cells.strange(), "What `auto` says of cells unlike those it learned from", "early_life_strange")
    if out:
        cells.write_test2(out)


def formula(_: Out) -> None:
    """The baseline's expected error."""
    _told(
        cells.formula_table(),
        "Expected error of least squares on a new cell, sigma = 1: formula and Monte Carlo",
        "early_life_formula",
    )


def other_cells(out: Out) -> None:
    """XJTU's and Attia's cells."""
    _told(others.xjtu_table(out), "Capacity of XJTU's cells from their charges, cells left out", "early_life_xjtu")
    _told(others.attia_table(out), "Lives of Attia's protocols from early predictions, each left out in turn", "early_life_attia")


def coverage(_: Out) -> None:
    """How often intervals hold."""
    _told([cells.coverage()], "90 % intervals over 50 cell-grouped splits of the 84 open cells", "early_life_coverage")


def beside(module: str) -> Callable[[Out], None]:
    """A part that is a benchmark of its own; nothing where it is not there."""

    def run(out: Out) -> None:
        program = Path(__file__).with_name(f"{module}.py")
        if not program.exists():
            sys.stdout.write(f"\n{module} is not there.\n")
            return
        more = ["--out", str(out)] if out and module == "early_life_trajectories" else []
        subprocess.run([sys.executable, str(program), *more], check=True)

    return run


PARTS: dict[str, Callable[[Out], None]] = {
    "life": life,
    "formula": formula,
    "others": other_cells,
    "trajectories": beside("early_life_trajectories"),
    "methods": beside("early_life_methods"),
    "coverage": coverage,
    "loop": beside("early_life_loop"),
}


def _told(rows: Sequence[dict[str, object]], title: str, name: str) -> None:
    show(rows, title)
    keep(rows, name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for the predictions of cells whose outcomes are not public")
    parser.add_argument("--parts", help="comma-separated; all by default")
    options = parser.parse_args(arguments)
    chosen = options.parts.split(",") if options.parts else [part for part in PARTS if part != "loop" or not options.out]
    if unknown := [part for part in chosen if part not in PARTS]:
        parser.error(f"no part is named {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    for part in chosen:
        PARTS[part](options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
