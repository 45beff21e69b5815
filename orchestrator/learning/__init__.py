"""What every fitted thing shares: seeding, cell-grouped folds, conformal calibration."""
