#!/bin/sh
# The first process of a test machine. The machine's root is the host's own file system, read-only; what to run comes on
# the kernel command line, and results go out over a second, writable share.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t debugfs debugfs /sys/kernel/debug
share=trans=virtio,version=9p2000.L,msize=524288
mkdir /run/checkout /run/results
mount -t 9p -o ro,cache=loose,$share checkout9p /run/checkout
mount -t 9p -o rw,$share results9p /run/results
export TERM=dumb NO_COLOR=1
cd /run/checkout && echo '@@@ begin' && sh /run/results/command.sh
echo $? > /run/results/status
echo '@@@ end'
dmesg > /run/results/dmesg
sync
# Where there is no reboot command, the end of init is the end of the machine too (panic=-1).
reboot -f 2> /dev/null
