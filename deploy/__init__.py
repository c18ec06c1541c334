"""Deployment of one Bento, unchanged, to many places: one folder per target, one way for all.

`bento` says what is deployed, `values` what a place is to be like, `target` what every target must
do, `releases` how it is applied, watched and taken back. `targets` knows the targets by name.
"""
