#!/bin/sh
# node.sh N [flags] - candidate N of this example, its server on 127.0.0.1:544N, its data below $DIR. PostgreSQL refuses to
# run as root: then it runs as the user postgres.
set -eu
HERE=$(cd "$(dirname "$0")" && pwd)
DIR=${DIR:-/tmp/lunarch-postgres}
case ${1:-} in
    [1-9]) N=$1 && shift ;;
    *) echo "usage: node.sh N [flags of lunarch run], N from 1 to 9" >&2 && exit 2 ;;
esac
mkdir -p "$DIR"
export PGDATA="$DIR/$N" PGPORT="${PORT:-544$N}"
set -- "${LUNARCH:-lunarch}" run "$HERE/failover.lua" --name "127.0.0.1:$PGPORT" "$@"
if [ "$(id -u)" = 0 ]; then
    chown postgres "$DIR"
    exec setpriv --reuid postgres --regid postgres --clear-groups env HOME="$DIR" "$@"
fi
exec "$@"
