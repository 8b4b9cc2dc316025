# $1: remove, purge or upgrade. The platform's data is the operator's: no package takes it away.
if [ "$1" = purge ] && [ -d /var/lib/xshield-platform ]; then
    echo "xshield: keys and database stay in /var/lib/xshield-platform; remove them yourself" >&2
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
