# $1: install or upgrade
if ! getent passwd xshield >/dev/null; then
    useradd --system --user-group --home-dir /var/lib/xshield-platform --no-create-home \
        --shell /usr/sbin/nologin xshield
fi
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if [ "$1" = upgrade ]; then
        systemctl try-restart xshield.service
    fi
fi
