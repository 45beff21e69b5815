"""What every fitted thing shares: seeding."""
