#!/bin/sh
# setup.sh PACKAGE...: install those of the Debian packages that are missing.
#
# With root they are installed, and no service of theirs is started, now or at the next boot: what needs
# Open vSwitch here runs one of its own. Without root the line to run is printed, and all is well, because
# much works without them; the tests say what they skip.
set -eu

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

if ! command -v dpkg-query >/dev/null; then
	echo "setup: not Debian; what is needed besides Go: $*" >&2
	exit 0
fi
missing=
for package; do
	installed "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "setup: packages are missing and root is needed to install them:" >&2
	echo "    sudo apt-get install -y --no-install-recommends$missing" >&2
	exit 0
fi

# Packages ask this file whether a service may be started; 101 is "no". One that is there already is the
# machine's own word on it and stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi

echo "setup: installing$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
install() {
	# shellcheck disable=SC2086 # a list of words
	apt-get install -y -q --no-install-recommends $missing >"$log" 2>&1
}
# The package lists are fetched only if those at hand won't do.
if ! install && ! { apt-get update -q >"$log" 2>&1 && install; }; then
	cat "$log" >&2
	rm -f "$log"
	echo "setup: apt-get install$missing failed" >&2
	exit 1
fi
rm -f "$log"

for package in $missing; do
	units=$(dpkg -L "$package" | sed -n 's|^\(/usr\)\{0,1\}/lib/systemd/system/\([^/]*\.service\)$|\2|p')
	if [ -n "$units" ] && command -v deb-systemd-helper >/dev/null; then
		# shellcheck disable=SC2086
		deb-systemd-helper disable $units >/dev/null 2>&1 || true
	fi
	for script in $(dpkg -L "$package" | sed -n 's|^/etc/init\.d/\(.*\)|\1|p'); do
		update-rc.d "$script" disable >/dev/null 2>&1 || true
	done
	[ -z "$units" ] || echo "setup: $package is installed; its service is neither started nor enabled"
done
