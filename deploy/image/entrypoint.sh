#!/bin/sh
# Tells the invoker its number, then becomes the invoker, so that signals reach it.
#
# A StatefulSet's pods are called <set>-0, <set>-1, ...: the part after the last `-` is the instance id. The name is the
# pod's where POD_NAME gives it (in the node's own network the host's name is the node's), else the host's.
set -eu

if [ "${1:-}" = serve ] && [ -z "${ID:-}" ]; then
    name=${POD_NAME:-${HOSTNAME:-$(hostname)}}
    ID=${name##*-}
    case $name in
    *-*) ;;
    *) ID= ;;
    esac
    case $ID in
    '' | *[!0-9]*)
        echo "invoker: the name '$name' ends in no number, as a StatefulSet's pod does; set ID" >&2
        exit 78
        ;;
    esac
    export ID
fi

exec invoker "$@"
