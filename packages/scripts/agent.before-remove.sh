# $1: remove or upgrade. An upgrade leaves the host as it is enforced.
if [ "$1" = remove ]; then
    if [ -d /run/systemd/system ]; then
        systemctl disable --now ctagent.service || true
    fi
    /usr/sbin/ctagent remove || echo "ctagent: what is in the kernel was not removed, see above" >&2
fi
