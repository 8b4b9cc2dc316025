#!/bin/sh
# Process 1 of the machine in which the tests meet another kernel. Lines that begin with @@ are read by
# xtask/src/kernels/result.rs; what a test printed follows "| ".
/bin/busybox --install -s /bin
export PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin HOME=/root TMPDIR=/tmp LC_ALL=C
# The kernel makes it writable for all, and a program that others could have put there is nobody's.
chmod 755 /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ln -sf /proc/self/fd /dev/fd
hostname other-kernel
ip link set lo up
# What netfilter logs of tests in namespaces is not for the console.
dmesg -n 1

uptime() { cut -d' ' -f1 /proc/uptime; }

echo "@@ kernel $(uname -r)"
while IFS='	' read -r suite limit name; do
    echo "@@ begin $suite $name"
    start=$(uptime)
    timeout -s KILL "$limit" "/tests/deps/$suite" --exact "$name" --nocapture --test-threads=1 \
        >/tmp/output 2>&1 </dev/null
    code=$?
    end=$(uptime)
    sed -e 's/^/| /' /tmp/output
    echo
    echo "@@ end $code $start $end"
done </tests/list
echo "@@ over"
poweroff -f
