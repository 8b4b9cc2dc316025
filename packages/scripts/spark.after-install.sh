# $1: install or upgrade
install -d -m 0700 /etc/xshield
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
