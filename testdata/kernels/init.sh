#!/bin/busybox sh
# The first process of the emulated machine: it mounts what a node has, runs the tests,
# and says how they ended. The second serial line is theirs, the first the kernel's.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp TMPDIR=/tmp
mount -t devtmpfs dev /dev
exec </dev/null >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 -opost
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs -o mode=1777 tmpfs /tmp
ln -s /proc/self/fd /dev/fd
ip link set lo up
cat /proc/sys/kernel/osrelease
cd /tests
# The kernel gives what follows "--" to its first process.
SWOLL_TEST_PROGRAMS=/tests/programs SWOLL_TEST_SLOW=4 ./swolld.test "$@"
echo "SWOLL-TESTS-EXIT $?"
poweroff -f
