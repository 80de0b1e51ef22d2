"""Runs: taken from the ledger one after another, executed step by step, ended with a status that is true."""
