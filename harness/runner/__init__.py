"""Runs an experiment: plan → trials in a spawned worker → rows in the store, written as they happen."""
