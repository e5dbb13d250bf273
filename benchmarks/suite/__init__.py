"""Measures forkd and its peers on one machine in one run. Nothing here asserts; what fails is reported with its reason."""
