#!/bin/bash
# Makes a stand-in for docker.io/library/python:3.11-slim out of Debian's packages, for machines that
# reach no registry: Debian's Python 3.11.2, not the official image. Writes the configuration of a
# container store of its own beside it.
# Needs: apt-get install -y --no-install-recommends buildah podman runc mmdebstrap
set -euo pipefail
folder=${1:?the folder of the container store}
mkdir -p "$folder"
cat > "$folder/storage.conf" <<END
[storage]
driver = "overlay"
graphroot = "$folder/storage"
runroot = "$folder/run"
END
# Without these limits runc asks for more than a container's root may give.
cat > "$folder/containers.conf" <<END
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
END
export CONTAINERS_STORAGE_CONF=$folder/storage.conf CONTAINERS_CONF=$folder/containers.conf
export BUILDAH_ISOLATION=chroot
image=docker.io/library/python:3.11-slim
if buildah inspect --type image "$image" > /dev/null 2>&1; then exit; fi
container=$(buildah from scratch)
root=$(buildah mount "$container")
mmdebstrap --quiet --variant=minbase --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
  --include=usr-is-merged,python3,python3-pip,python3-distutils,ca-certificates \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
  bookworm "$root"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
ln -sf python3 "$root/usr/bin/python"
rm -rf "$root"/usr/lib/python3*/EXTERNALLY-MANAGED "$root"/var/lib/apt/lists/* "$root"/var/cache/*
buildah config --cmd python3 \
  --env PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
  --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt "$container"
buildah umount "$container" > /dev/null
buildah commit --quiet --rm "$container" "$image" > /dev/null
