# $1: remove or upgrade. An upgrade does not change what is enforced.
if [ "$1" = remove ]; then
    if [ -d /run/systemd/system ]; then
        systemctl disable --now ctagent.service || true
    fi
    /usr/sbin/ctagent remove || echo "ctagent: the rules in the kernel were not removed; see above" >&2
fi
