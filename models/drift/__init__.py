"""What a model's reference data looks like, and how far it is from itself by chance.

`bins` and `scores` say how far two samples are apart, `windows` and `null` how far contiguous
windows of the reference are from the rest of it, and `profile` puts both together for the manifest.
All of it is pure: no file, no clock.
"""
