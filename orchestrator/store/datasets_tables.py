"""The tables of the public datasets, their columns renamed to this project's words with units in the names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import polars as pl

Paths = Mapping[str, Path]
Tables = dict[str, pl.DataFrame]

# C-rates keep their papers' symbols.
_RATES = {"C1": "C1_rate_C", "C2": "C2_rate_C", "C3": "C3_rate_C", "C4": "C4_rate_C"}
_CHARGE_FEATURES = {
    "cell": "cell_id",
    "cycle": "cycle_count",
    "voltage_mean": "voltage_mean_V",
    "voltage_std": "voltage_sd_V",
    "voltage_kurtosis": "voltage_kurtosis",
    "voltage_skewness": "voltage_skewness",
    "CC_Q": "cc_charge_capacity_Ah",
    "CC_charge_time": "cc_charge_time_s",
    "voltage_slope": "voltage_slope_V_per_s",
    "voltage_entropy": "voltage_entropy",
    "current_mean": "current_mean_A",
    "current_std": "current_sd_A",
    "current_kurtosis": "current_kurtosis",
    "current_skewness": "current_skewness",
    "CV_Q": "cv_charge_capacity_Ah",
    "CV_charge_time": "cv_charge_time_s",
    "current_slope": "current_slope_A_per_s",
    "current_entropy": "current_entropy",
    "capacity": "capacity_Ah",
}
_PAIRS = {
    "id": "id",
    "formula_charge": "formula_charged",
    "formula_discharge": "formula_discharged",
    "voltage": "average_voltage_V",
}
_CAPACITY = {"cell_id": "cell_id", "cycle": "cycle_count", "Qd_Ah": "discharge_capacity_Ah"}
_SPECTRUM = {
    "row_id": "spectrum",
    "seriesIdx": "cell",
    "isTest": "held_out",
    "q": "relative_capacity",
    "TdegC_EIS": "temperature_degC",
    "soc_EIS": "state_of_charge",
}
# How the databank writes units, and how they are written here.
_UNITS = {
    "%": "percent",
    "V": "V",
    "g": "g",
    "kJ": "kJ",
    "kJs-1": "kJ_per_s",
    "W": "W",
    "W/cm2": "W_per_cm2",
    "s": "s",
    "degC": "degC",
}
_UNNAMED_UNITS = {"Mass-Ejected": "mass_ejected_g", "Percent-Original-Mass-Ejected": "mass_ejected_percent"}


def renamed(path: Path, names: Mapping[str, str]) -> pl.DataFrame:
    """The columns of a CSV that are listed, under the names given; blank cells are null."""
    table = pl.read_csv(path, infer_schema_length=None, columns=[n for n in names if n in _header(path)])
    return table.rename({own: name for own, name in names.items() if own in table.columns})


def _header(path: Path) -> list[str]:
    return pl.read_csv(path, n_rows=0, infer_schema=False).columns


def protocols(paths: Paths) -> Tables:
    """Severson's protocols: one row per cell."""
    names = ("cell_id", "split", "barcode", "batch_date", "policy", "C1", "Q1_pct", "C2", "t_80pct_min", "cycle_life")
    ours = {"Q1_pct": "Q1_percent", "t_80pct_min": "charge_time_min", **_RATES}
    table = renamed(paths["severson_protocols.csv"], {name: ours.get(name, name) for name in names})
    return {"cells": table.with_columns(pl.col("batch_date").str.to_date("%m/%d/%y"))}


def capacities(paths: Paths) -> Tables:
    """Severson's discharge capacities as cycle summaries: one row per cell and cycle."""
    return {
        "train_and_test1": renamed(paths["severson_capacity_full.csv.gz"], _CAPACITY),
        "test2": renamed(paths["severson_capacity_test2_first100.csv.gz"], _CAPACITY),
    }


def policies(paths: Paths) -> Tables:
    """Attia's 224 protocols with the simulator's cycle life."""
    return {"policies": renamed(paths["attia_policies_sim.csv"], {**_RATES, "sim_life": "cycle_life"})}


def campaign(paths: Paths) -> Tables:
    """Attia's campaign: predictions by round, validation by cell, published ablation."""
    names = {"round": "round", **_RATES, "pred_life": "predicted_cycle_life"}
    return {
        "predictions": renamed(paths["attia_campaign_predictions.csv"], names),
        "validation": _validation(paths["attia_validation.csv"]),
        "ablation": _ablation(paths["attia_published_ablation.json"]),
    }


def _validation(path: Path) -> pl.DataFrame:
    """One row per protocol and cell; the file has the five cells side by side, measured R1-5 and predicted P1-5."""
    wide = pl.read_csv(path, infer_schema_length=None)
    rates = [pl.col(name).cast(pl.Float64).alias(_RATES[name]) for name in ("C1", "C2", "C3")]
    cells = [
        wide.select(
            *rates,
            pl.lit(cell).alias("cell"),
            pl.col(f"P{cell}").cast(pl.Float64).alias("predicted_cycle_life"),
            pl.col(f"R{cell}").cast(pl.Float64).alias("cycle_life"),
        ).with_row_index("protocol", 1)
        for cell in range(1, 6)
    ]
    return pl.concat(cells).sort("protocol", "cell")


def _ablation(path: Path) -> pl.DataFrame:
    """One row per strategy, channels and rounds tested: 0 to 4 of the optimal design, 1 to 4 of random search."""
    read = json.loads(path.read_text())
    rows = [
        {"strategy": strategy, "channels": channels, "rounds": rounds, "cycle_life_mean": mean, "cycle_life_sd": spread}
        for strategy, key, first in (("optimal_design", "oed", 0), ("random", "random", 1))
        for channels, means, spreads in zip(read["channels"], read[f"{key}_mean"], read[f"{key}_std"], strict=True)
        for rounds, (mean, spread) in enumerate(zip(means, spreads, strict=True), start=first)
    ]
    return pl.DataFrame(rows)


def charge_features(paths: Paths) -> Tables:
    """XJTU: features of each charge; those that are infinite stay so."""
    files = {"cycles": "xjtu_features.csv.gz", "held_out": "xjtu_features_heldout_inputs.csv.gz"}
    return {name: renamed(paths[file], _CHARGE_FEATURES) for name, file in files.items()}


def cathodes(paths: Paths) -> Tables:
    """Cathodes: charged and discharged formula, average voltage."""
    files = {"pairs": "cathode_voltage_train.csv", "held_out": "cathode_voltage_test_inputs.csv"}
    return {name: renamed(paths[file], _PAIRS) for name, file in files.items()}


def structures(paths: Paths) -> Tables:
    """Crystal structures, as CIF text."""
    rows = []
    for name, path in paths.items():
        material, _, formula = Path(name).stem.rpartition("-")
        rows.append({"material": material, "formula": formula, "structure_cif": path.read_text()})
    return {"structures": pl.DataFrame(rows)}


def failures(paths: Paths) -> Tables:
    """The failure databank: one row per test."""
    path = paths["battery_failure_databank.csv"]
    table = pl.read_csv(path, infer_schema_length=None, null_values=["-", " "]).drop("nan")
    return {"tests": table.rename(_failure_column).with_columns(pl.col("test_date").str.to_datetime().dt.date())}


def _failure_column(name: str) -> str:
    """`Pre-Test-Cell-Mass-g` becomes `pre_test_cell_mass_g`."""
    if name in _UNNAMED_UNITS:
        return _UNNAMED_UNITS[name]
    stem, unit = next(
        ((name.removesuffix(f"-{u}"), u) for u in sorted(_UNITS, key=len, reverse=True) if name.endswith(f"-{u}")), (name, "")
    )
    words = stem.replace("Ƭ", "tau").lower().replace("-", "_")
    told = not unit or _UNITS[unit] in words.split("_")
    return words if told else f"{words}_{_UNITS[unit]}"


def spectra_table(paths: Paths) -> Tables:
    """What each spectrum was measured at."""
    table = renamed(paths["eis_denso.csv.gz"], _SPECTRUM)
    return {"spectra": table.with_columns(pl.col("held_out").cast(pl.Boolean), pl.col("temperature_degC").cast(pl.Float64))}


TABLES: dict[str, Callable[[Paths], Tables]] = {
    "severson_protocols": protocols,
    "severson_capacity": capacities,
    "attia_policies": policies,
    "attia_campaign": campaign,
    "xjtu_features": charge_features,
    "cathode_voltage": cathodes,
    "cathode_structures": structures,
    "failure_databank": failures,
    "eis_denso": spectra_table,
}
