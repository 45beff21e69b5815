"""What was measured of one (synthetic) cell, and what it says: a short simulated campaign, its recording, cycles and features."""

import sys
import tempfile

import numpy as np

from adapters.simulated import SimulatedCycler
from flows import Lab, run_campaign
from orchestrator import Budget, CampaignSpec, Experiment, Objective, RangeParameter, SearchSpace
from orchestrator.features import cycle_summary, delta_q_features, discharge_curve, fit_randles, impedance_spectra

spec = CampaignSpec(
    name="one-cell",
    space=SearchSpace(parameters=[RangeParameter("c1", 1.0, 4.0, unit="C")]),
    objectives=[Objective("charge_time_min", "minimize")],
    experiment=Experiment("multistep_charge", "lfp_a123", max_cycles=100, checkup="reference_performance"),
    budget=Budget(trials=1),
)
with tempfile.TemporaryDirectory() as folder, Lab.open(folder, cyclers=[SimulatedCycler(channels=1)]) as lab:
    run_campaign(lab, spec)
    recording = lab.recording("one-cell", 1)
V = np.linspace(2.0, 3.4, 200)
change = delta_q_features(V, discharge_curve(recording, 10, V), discharge_curve(recording, 100, V))
spectrum = impedance_spectra(recording)[100]
fit = fit_randles(spectrum.frequency_Hz, spectrum.Z_ohm)
print(cycle_summary(recording).select("cycle_count", "discharge_capacity_Ah", "temperature_max_degC"), file=sys.stdout)
print(f"log10 var(Q100 - Q10) = {change['log_variance']:.2f}; R0 = {1e3 * fit['R0_ohm']:.1f} mOhm", file=sys.stdout)
