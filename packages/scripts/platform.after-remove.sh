# $1: remove, purge or upgrade. The platform's data belongs to the operator: no package removes it.
if [ "$1" = purge ] && [ -d /var/lib/xshield-platform ]; then
    echo "xshield: keys and database remain in /var/lib/xshield-platform; remove them yourself" >&2
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
