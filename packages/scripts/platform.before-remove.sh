# $1: remove or upgrade
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now xshield.service || true
fi
