# $1: install or upgrade. `ctagent register` starts a newly installed agent.
install -d -m 0700 /etc/xshield
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if [ "$1" = upgrade ]; then
        systemctl try-restart ctagent.service
    fi
fi
