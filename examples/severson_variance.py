"""How well the change of a discharge curve by cycle 100 foretells a cell's life, over Severson's training cells (MIT)."""

import sys

import numpy as np

from orchestrator.domain.errors import SpecError
from orchestrator.features import delta_q_features
from orchestrator.store.datasets import dataset_card, open_dataset

card = dataset_card("severson_qv")
print(card, file=sys.stdout)
try:
    opened = open_dataset(card.name)
except SpecError as error:
    print(f"The data are not here. {error}", file=sys.stdout)
    sys.exit(0)
curves = opened.curves["train"]
life = opened.tables["cells"].filter(split="train")["cycle_life"].to_numpy()
changes = [delta_q_features(curves.fine_voltage_V, *both) for both in curves.fine_discharge_capacity_Ah]
correlation = np.corrcoef([change["log_variance"] for change in changes], np.log10(life))[0, 1]
print(f"correlation of log10 var(Q100 - Q10) with log10 life over {len(life)} cells: {correlation:.2f}", file=sys.stdout)
