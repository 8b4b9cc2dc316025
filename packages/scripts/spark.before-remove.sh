# $1: remove or upgrade. An upgrade does not change what is enforced.
if [ "$1" = remove ]; then
    if [ -d /run/systemd/system ]; then
        systemctl disable --now ctspark.timer || true
    fi
    if [ -f /etc/xshield/spark.yaml ]; then
        /usr/sbin/ctspark remove || echo "ctspark: the rules in the kernel were not removed; see above" >&2
    fi
fi
