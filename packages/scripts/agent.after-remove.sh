# $1: remove, purge or upgrade
if [ "$1" = purge ]; then
    rm -f /etc/xshield/config.yaml /etc/xshield/config.yaml.previous /etc/xshield/config.yaml.lock
    rmdir /etc/xshield 2>/dev/null || true
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
