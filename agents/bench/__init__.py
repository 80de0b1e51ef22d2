"""`hearth bench scheduler`: what the schedule and the ledger cost, measured in homes that are made for it and thrown away."""
