"""Switchyard on one machine, by Docker Compose or podman-compose.

`values` says what it is to be like, `services` and `files` what is sent, `engine` runs the
programs, `platform` starts, watches and stops.
"""
