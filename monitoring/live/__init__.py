"""Drift while it happens: requests and answers counted in fixed bins, no row kept.

Every router worker counts the batches that go to the prediction log, after their requests are
answered: the fields of an endpoint in the bins of its reference, the stable variant's model, and
the answers of each variant in the bins of its own model (`counter`). The counts stand in slices of
time (`slices`, `book`), go to the state database every few seconds, and add up over workers and
replicas; the leading controller takes those of a sliding window together (`window`) and scores them
(`scores`). Shadows are not counted, and of a very busy endpoint a sample is (`sampling`).
"""
