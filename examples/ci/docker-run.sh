#!/bin/sh
# In a container of Docker with nothing granted: rung 4 (chroot).  The store is a volume, for a container's own root is an overlay.
set -eu
docker run --rm -v cooper-store:/store -e COOPER_ROOT=/store -v "$PWD:/src" -w /src \
    registry.example.com/cooper:latest build --progress plain -t app:1 -o type=oci,dest=/src/app.tar .
# Rung 3 (user namespace), which keeps RUN apart from the container too; it needs user namespaces to be let through:
#   docker run --user 1000 --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined ...
