"""How often drift is found where there is none, and where it was planted.

python -m benchmarks.drift
"""
