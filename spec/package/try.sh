#!/bin/sh
# Installs the Debian package in a bare root, uses all of it as a stranger would, and purges it: ./dev package --try.
# Needs root, for debootstrap. LUNARCH_MIRROR names another mirror than this machine's own.
set -eu

DEB=$1 ETCD=$2
ROOT=$(mktemp -d "${TMPDIR:-/tmp}/lunarch-root-XXXXXX")

say() { printf '%s\n' "$*" >&2; }
die() { say "package: $*"; exit 1; }

inside() { chroot "$ROOT" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"; }

clean_up() {
    if [ -s "$ROOT/run/nginx.pid" ]; then
        kill "$(cat "$ROOT/run/nginx.pid")" && sleep 1
    fi
    umount "$ROOT/dev/shm" "$ROOT/proc" 2>/dev/null || :
    rm -rf --one-file-system "$ROOT"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# what COMMAND PATTERN: the command's output must match.
what() {
    said=$(inside sh -c "$1" 2>&1) || die "'$1' failed: $said"
    printf '%s\n' "$said" | grep -q "$2" || die "'$1' said '$said', which has no '$2'"
    say "ok    $1: $(printf '%s' "$said" | tail -n 1)"
}

files() { (cd "$ROOT" && find . -xdev \( -path ./proc -o -path ./dev -o -path ./run -o -path ./tmp -o -path ./root \
    -o -path ./var/lib/dpkg -o -path ./var/lib/apt -o -path ./var/cache -o -path ./var/log -o -path ./etc/nginx \
    -o -path ./var/lib/nginx \) -prune -o -print) | sort; }

mirror=${LUNARCH_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' | head -n 1)}
debootstrap --variant=minbase bookworm "$ROOT" "${mirror:-http://deb.debian.org/debian}" >"$DEB.root.log" 2>&1 ||
    die "debootstrap failed; see $DEB.root.log"
chmod 755 "$ROOT"
mount -t proc proc "$ROOT/proc"
mount -t tmpfs tmpfs "$ROOT/dev/shm"
printf '#!/bin/sh\nexit 101\n' >"$ROOT/usr/sbin/policy-rc.d"
chmod +x "$ROOT/usr/sbin/policy-rc.d"

# What a user of the package has besides: two VMs (LuaJIT is the one that goes with nginx), a compiler, an nginx, and an
# etcd; and what looks it over.
apt="apt-get -q -y --no-install-recommends"
inside $apt install lua5.4 luajit2 gcc libc6-dev pkg-config nginx libnginx-mod-http-lua curl lintian systemd \
    >>"$DEB.root.log" 2>&1 || die "apt failed; see $DEB.root.log"
cp "$ETCD" "$ROOT/usr/local/bin/etcd"
before=$(files)

cp "$DEB" "$ROOT/tmp/lunarch.deb"
inside $apt install /tmp/lunarch.deb >>"$DEB.root.log" 2>&1 || die "the package does not install; see $DEB.root.log"

what 'lunarch --version' '^lunarch [0-9]'
what 'test -r /usr/share/man/man1/lunarch.1.gz && echo a man page' 'man page'
what 'ls /usr/share/doc/lunarch/examples/systemd && ! find /etc /lib/systemd -name "lunarch*" | grep .' 'lunarch@.service'
for vm in lua5.4 luajit; do
    what "$vm -e 'print(_VERSION, require(\"lunarch\")._VERSION, require(\"lunarch.core\").version)'" 'lunarch [0-9]'
done
what 'lunarch /usr/share/doc/lunarch/examples/trylock.lua --dev' 'web-2: now I have it'
what 'lunarch sim /usr/share/doc/lunarch/examples/failover.lua --seeds 1..20' '20'
what 'cd /tmp && gcc /usr/share/doc/lunarch/examples/c/leader.c -o leader $(pkg-config --cflags --libs lunarch) &&
    ./leader; test $? = 2 && echo an example in C' 'an example in C'

# The maintainer's address is nobody's.
what 'lintian --allow-root --fail-on error --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog \
    /tmp/lunarch.deb && echo lintian sees no error' 'sees no error'
what 'cp /usr/share/doc/lunarch/examples/systemd/lunarch@.service /tmp && cd /tmp &&
    ! systemd-analyze verify ./lunarch@.service 2>&1 | grep . && echo the unit is understood' 'is understood'

cp "$(dirname "$0")/nginx.lua" "$ROOT/tmp/nginx.lua"
what 'lunarch /tmp/nginx.lua --dev' 'served by www-data'

inside $apt purge lunarch >>"$DEB.root.log" 2>&1 || die "the package does not go; see $DEB.root.log"
inside $apt autoremove --purge >>"$DEB.root.log" 2>&1 || die "apt failed; see $DEB.root.log"
left=$(files | comm -13 "$(f=$DEB.before; printf '%s\n' "$before" >"$f"; echo "$f")" -)
rm -f "$DEB.before"
[ -z "$left" ] || die "the purge left behind: $left"
say "ok    the purge leaves nothing"
