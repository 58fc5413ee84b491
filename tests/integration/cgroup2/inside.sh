#!/bin/sh
# inside.sh COMMAND...: run it where control groups are version 2 and nothing else, whatever this machine mounts: in
# namespaces of its own, below a group of its own. Needs root. What a killed run left is removed by the next.
set -eu

if [ "${1:-}" = --mounted ]; then # in a mount namespace of our own
    shift
    base=/sys/fs/cgroup
    umount -R "$base" 2>/dev/null || :
    mount -t cgroup2 none "$base"
    remove() { # what runs in the group, then the group
        echo 1 >"$1/cgroup.kill"
        for _ in $(seq 200); do
            find "$1" -depth -type d -exec rmdir {} + 2>/dev/null && return
            sleep 0.01
        done
        echo "control group $1 can't be removed" >&2
        return 1
    }
    for left in "$base"/cgroup2-test.*; do
        [ ! -d "$left" ] || kill -0 "${left##*.}" 2>/dev/null || remove "$left"
    done
    group=$base/cgroup2-test.$$
    mkdir "$group"
    trap 'remove "$group"' EXIT
    for controller in memory pids cpu; do # those that no tree of version 1 has
        echo "+$controller" 2>/dev/null >"$base/cgroup.subtree_control" || :
    done
    status=0
    sh -c 'echo 0 >"$1/cgroup.procs"; shift; exec unshare --cgroup --mount "$@"' sh "$group" "$0" --rooted "$@" ||
        status=$?
    exit "$status"
elif [ "${1:-}" = --rooted ]; then # where our group is the root of the tree
    shift
    umount -R /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
    mkdir /sys/fs/cgroup/tests # a group that hands controllers down holds no process itself
    echo 0 >/sys/fs/cgroup/tests/cgroup.procs
    exec "$@"
fi
exec unshare --mount "$0" --mounted "$@"
