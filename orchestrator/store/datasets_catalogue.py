"""The public datasets that can be opened: who measured them, under which licence, what is inside, and what is known to be wrong.

All are other people's work. Voltloop carries none of it; hashes say which files it was tried on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.store.datasets_files import DataFile, PublicSource

_RAW = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class DatasetCard:
    """What one must know of a dataset before using it.

    Attributes:
        name: what `open_dataset` is called with.
        title, authors: of the work to be cited.
        repository, commit: on GitHub, where the files or what they were made from lie.
        licence: as seen there; "none seen" means: to measure against, not to pass on.
        inside: which tables, recordings, spectra or curves it opens as.
        faults: what is known to be wrong or missing; nothing of it is removed in silence.
        files: what it is read from.
    """

    name: str
    title: str
    authors: str
    repository: str
    commit: str
    licence: str
    inside: str
    faults: tuple[str, ...]
    files: tuple[DataFile, ...]

    @property
    def origin(self) -> str:
        """Repository and commit, as a person would look for them."""
        return f"github.com/{self.repository} at {self.commit}"

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.title}", self.authors, f"from {self.origin}; licence: {self.licence}", self.inside]
        return "\n".join([*lines, *(f"! {fault}" for fault in self.faults)])


def _policies(public: bytes) -> bytes:
    """The simulator's table has neither a header nor shortest numbers."""
    rows = [",".join(repr(float(cell)) for cell in line.split(",")) for line in public.decode().splitlines()]
    return "\n".join(["C1,C2,C3,C4,sim_life", *rows, ""]).encode()


def _named_index(public: bytes) -> bytes:
    """The public table's first column has no name."""
    return b"id" + public


_SEVERSON = "Severson, Attia, Jin et al., Nature Energy 4 (2019) 383"
_ATTIA = "Attia, Grover, Jin et al., Nature 578 (2020) 397"
_OPTIMIZATION = ("chueh-ermon/battery-fast-charging-optimization", "0068fd0")
_UNKNOWN = "a commit that was not written down"
_OUTLIER = "test1_22 died after 148 cycles; published tables leave it out of test1."

_VENDOR_FILES = {
    "neware_nw4-120-1-6-53.ndax": "7c39562b179f6138bd8ff7a2bc7d0aca7481cf4319c5cc171028f3e4bff46f3e",
    "biologic_GCPL-0.mpr": "e3efaeb6cb58f794b8934ea9513b7b9222b9e8cf09ea8610f2d26dce12bea123",
    "biologic_PEIS-0.mpr": "d55e029bb32272fddf1544f25df46b52ce783f7e21631b2d8eefd58cd14ad56e",
    "landt.bdf.csv": "c5998dae00e487b529ffab5c81763ac4e41a09f145245236a2b2c1d489a53caf",
    "arbin.csv": "7ec1c7688890515bdf66821cf56908b20495013f809a58e4946baebf04151524",
    "maccor.csv": "e0bd6a94d75bfc764318b69e365d6f468314604191f74d4d1a44bb136149a200",
    "novonix.csv": "ba5d0e3bb90e8eeadaaff5d0be956fb1a0144cc485f7d0a58007c36f4d03de38",
}

_CARDS: Iterable[DatasetCard] = (
    DatasetCard(
        "severson_qv",
        "Discharge curves Q(V) of 124 fast-charged LFP/graphite cells of 1.1 Ah, cycles 2 to 100",
        f"{_SEVERSON}; curves as published with Attia, Severson, Witmer, arXiv 2101.01885",
        "petermattia/revisit-severson-et-al", "3a77c7d", "MIT",
        "curves: `train`, `test1`, `test2`. Tables: `cells` (split, cycle life), `anomalous_cycles`.",
        ("7 curves are impossible (above 1.3 or below -0.05 Ah); they are there, `quality_flags` says IMPOSSIBLE_CAPACITY.",
         "Curves end where 2.0 V is reached: 14 to 42 mAh less than with the hold at 2.0 V, at cycles 10 and 100.",
         _OUTLIER, "Cycle lives of test2 are not there."),
        (DataFile("severson_qv.npz", "b68784d531e96949bdc8c30fdbd2b804205eae47e3f8225894031178470eb02b"),
         DataFile("severson_qv_anomalous_cycles.csv", "dff97cb530d8a5c5a72f916f40ed195c6abc8a4affc33b4a0bb0739e0c59cc97")),
    ),
    DatasetCard(
        "severson_protocols", "Charging protocols, batches and cycle lives of the 124 cells", f"{_SEVERSON}, SI table 9",
        "petermattia/revisit-severson-et-al", "3a77c7d", "MIT",
        "Table `cells`: C1 to Q1 % of charge, then C2 to 80 %; nominal time to 80 %; cycle life to 0.88 Ah.",
        ("Cycle lives of test2 are blank.", _OUTLIER),
        (DataFile("severson_protocols.csv", "bcd18d216dc5032adba952d5c5058a979595e7b4b1324c2a2bb787388c78b163"),),
    ),
    DatasetCard(
        "severson_capacity", "Discharge capacity of every cycle", f"{_SEVERSON}, as kept by R. Gilchrist's knee-finder",
        "rg1990/knee-finder", "b569708", "none seen",
        "Cycle summaries: `train_and_test1` (82 cells to end of life), `test2` (cycles 2 to 100 of 36 cells).",
        ("Single odd cycles are inside.", "test1_22, test1_43 and 4 cells of test2 are missing."),
        (DataFile("severson_capacity_full.csv.gz", "cd7e1e6762035af13f9b267e0236c5e201fa92c0d827474f7727933ec4aa2740"),
         DataFile("severson_capacity_test2_first100.csv.gz",
                  "80180792c04c1ad04cd06dde2831d0ebc9a3bc69dec20ff6326e7bff39f4d417")),
    ),
    DatasetCard(
        "attia_policies", "224 four-step fast-charging protocols with a simulator's cycle life", _ATTIA,
        *_OPTIMIZATION, "none seen",
        "Table `policies`: C-rate of each 20 % of charge, and the simulator's noiseless `cycle_life`.",
        ("The lives are simulated, not measured.",),
        (DataFile(
            "attia_policies_sim.csv", "c5207a525c68d859aaefacad9340b8ea50fc4d9d5fe59b3595f7c24c19fcf767",
            PublicSource(
                f"{_RAW}/chueh-ermon/battery-fast-charging-optimization/afcbb40e909db0f755649f6fd321d7cbd816bbb3"
                "/figures/SI/hp_sensitivity/policies_lifetimes_sim.csv",
                "a9ac1f98f89cdbadb41df40aa754c3ca5645f52e29604dea9130f20e956768f1", _policies)),),
    ),
    DatasetCard(
        "attia_campaign", "The real closed-loop campaign: early predictions of four rounds, and its validation", _ATTIA,
        *_OPTIMIZATION, "none seen",
        "Tables: `predictions` (round, protocol, predicted life), `validation` (9 protocols x 5 cells, predicted and measured), "
        "`ablation` (published mean and sd of the true life of the protocol held best, by strategy, channels and rounds).",
        ("Measured lives of 4 of the 9 protocols are blank.", "One prediction of the validation is blank."),
        (DataFile("attia_campaign_predictions.csv", "a4b3c1f4ec800158798b4e45d8f9656c1d0e31a7cb472f24e438455269c84920"),
         DataFile("attia_validation.csv", "9dc4c9a26ea65a3b63f26df2a2d3e5ececca3b915bfb11dc76a7da4a7a24f1e1"),
         DataFile("attia_published_ablation.json", "e1e0bf9c56425f2e67958dceb91e3ee944619323a7fdd05b2bf7ca7cd56bb6fe")),
    ),
    DatasetCard(
        "a123_gitt", "Galvanostatic intermittent titration of an A123 LFP/graphite cell of 1.1 Ah", _ATTIA,
        *_OPTIMIZATION, "none seen",
        "Recording `a123`: time, current, voltage, temperature, step index, and capacities that begin anew with every pulse.",
        ("Row 8063 has a time of -84.806 s: time runs backwards there.",
         "Numbers have six digits: 2217 rows have the time of the row before them.", "The first temperature is missing (NaN)."),
        (DataFile("a123_gitt.csv.gz", "1dfada501801f9926221e50828bc3910bcd3b2d5db68e91cf0e9a292a0192a0a"),),
    ),
    DatasetCard(
        "eis_denso", "467 impedance spectra of 31 large NMC/graphite cells at four temperatures and five states of charge",
        "Gasper, Schiek, Smith, Shimonishi, Yoshida, Predicting battery capacity from impedance (2022)",
        "NREL/battery_capacity_from_eis", "53a2b62", "none seen",
        "Spectra by row number, 69 frequencies each; table `spectra`: cell, temperature, state of charge, relative capacity.",
        ("Frequencies are those of the column names, rounded to two digits.",
         "The relative capacity of the 108 test spectra is blank."),
        (DataFile("eis_denso.csv.gz", "c12d446f4b2863d4ed66a10e75c420b935ff31287cc43db3e186ede475547ec8"),),
    ),
    DatasetCard(
        "xjtu_features", "Charge features and capacity of every cycle of 55 NCM cells of 2 Ah",
        "Wang, Zhai, Zhao, Di, Chen, Nature Communications 15 (2024) 4332", "wang-fujin/PINN4SOH", "bf7a931", "none seen",
        "Tables: `cycles` (44 cells, 16 features and capacity), `held_out` (11 cells, features only).",
        ("`voltage_entropy` is infinite in 131 cycles of `cycles`.", "Capacities of the 11 held-out cells are not there."),
        (DataFile("xjtu_features.csv.gz", "9ddab9799c8c9d43fdd004d3b4c2468168a2e0a9280da4a653622ba5394e5ef0"),
         DataFile("xjtu_features_heldout_inputs.csv.gz", "4542d3e03bd6fa08154383a9e212ff87b13016c8e0e1326de842d7fe48dfb5e2")),
    ),
    DatasetCard(
        "cathode_voltage", "Average voltage of lithium cathodes, by density functional theory",
        "Li, Chen, Ceder, Persson, ACS Appl. Mater. Interfaces (2024), 10.1021/acsami.4c15742",
        "hmlli/voltage_mining_model_demo", "3cec230", "MIT (badge)",
        "Tables: `pairs` (charged and discharged formula, average voltage), `held_out` (formulas only).",
        ("Voltages are computed, not measured.", "Voltages of `held_out` are not there."),
        (DataFile(
            "cathode_voltage_train.csv", "8cfd0043fc904ae360e0c4b8ac7a3b69f8322046068e0c81a616df66577b48fc",
            PublicSource(
                f"{_RAW}/hmlli/voltage_mining_model_demo/da3ff3b5460a06981ea39465a527c1734ea1f4bf/data/train.csv",
                "9f176de7d43e0139e6d5a2a7f4fba8cd1b94c26e931ebc9ecf4e87243953dfaa", _named_index)),
         DataFile("cathode_voltage_test_inputs.csv", "9790dbf010d70a4453f6ab6aa30d7fc49395dfbc05c5a44b8374057a5ae38052")),
    ),
    DatasetCard(
        "cathode_structures", "Crystal structures of LiMnO2 and Li9Co7O16", "Materials Project, as kept with CHGNet",
        "CederGroupHub/chgnet", _UNKNOWN, "LBNL",
        "Table `structures`: material, formula, structure as CIF text.",
        (),
        (DataFile("cif/mp-18767-LiMnO2.cif", "a3cf7f903ba5d2932c82ed70316a34cbe50cf852ec2c1edd59872721953ffaae"),
         DataFile("cif/mp-1175469-Li9Co7O16.cif", "94a5e744cdbb1e870e7180e950578fe26089bc5bfab494c2cc62bdd6b0caa72c")),
    ),
    DatasetCard(
        "failure_databank", "365 thermal-runaway tests in a fractional calorimeter",
        "Battery Failure Databank (NREL, NASA), as kept by Masalkovaite, Gasper, Finegan",
        "NREL/battery-heat-output", "85a7c3d", "none seen",
        "Table `tests`: cell, trigger, energies, masses, heat rates; units in the names.",
        ("'-' stands for what was not measured: null here.", "An empty first column is left out."),
        (DataFile("battery_failure_databank.csv", "4a0ea77cc94335ca215c8cedc489d4a81c00d477c49ff6bfe9083998c40882a1"),),
    ),
    DatasetCard(
        "lgm50_pulse", "Discharge pulses of 10 s on 24 LG M50 cells of 5 Ah at four temperatures and nine states of charge",
        "PyBOP's example data", "pybop-team/PyBOP", "e8165e0", "BSD-3",
        "216 recordings, `T25/SoC5/Cell1` and so on, temperature that of the first sensor; table `recordings`.",
        ("Time counts from the beginning of the cell's programme, up to hundreds of hours before.",
         "The first rows of a file belong to the rest before the pulse; their temperature may be missing (NaN).",
         "A second temperature sensor (in 117 recordings of another length) and counters of charge and energy are left out."),
        (DataFile("lgm50_pulse.mat", "8067781fcf662ede90af3ab6cf45badaf91ec35b1066d517b2897ca581f26a27"),),
    ),
    DatasetCard(
        "vendor_samples", "One file of each vendor: Neware, BioLogic, Landt, Arbin, Maccor, Novonix",
        "fastnda (Empa), Battery Data Alliance, PyProBE (Imperial College London)",
        "EmpaEconversion/fastnda, battery-data-alliance/battery-data-format, ImperialCollegeLondon/PyProBE", _UNKNOWN,
        "BSD-3, Apache-2.0, BSD-3",
        "Paths only: `adapters.formats.open_cycler_file` reads them.",
        (("The .ndax file's test time never runs backwards. The time within its steps falls 479 times, 340 times by more than a "
          "second, always where a step begins."),),
        tuple(DataFile(f"raw/{name}", sha256) for name, sha256 in _VENDOR_FILES.items()),
    ),
)  # fmt: skip

CARDS: dict[str, DatasetCard] = {card.name: card for card in _CARDS}
