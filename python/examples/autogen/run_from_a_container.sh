#!/bin/sh
# An application in a container whose code runs in another: with the daemon's socket mounted, as AutoGen's documentation
# has it, the application's container starts its siblings. No `bind_dir` is needed, for Stockade asks the daemon where
# its own container's files are.
#
# usage: run_from_a_container.sh IMAGE PACKAGES
# with an image that has Python, and a directory of packages for it: pip install --target PACKAGES 'stockade[autogen]'
set -eu
mkdir -p coding
exec docker run --rm \
    -v /var/run/docker.sock:/var/run/docker.sock \
    -v "$(dirname "$(realpath "$0")"):/app:ro" \
    -v "$(realpath "$2"):/packages:ro" -e PYTHONPATH=/packages \
    -v "$PWD/coding:/project/coding" -w /project \
    "$1" python3 /app/run_in_docker.py
