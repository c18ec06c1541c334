"""Example: will this flight from New York arrive 15 minutes late or more?"""
