#!/bin/sh
# Boots systemd on a copy of this machine that forgets everything: run in new mount, process, IPC,
# UTS and network namespaces. $1: an empty folder, $2: a cgroup of its own, $3: the checkout. See
# droplet.py.
set -eu
scratch=$1
checkout=$3
echo $$ > "$2/cgroup.procs"
# From here on, / of the cgroups is that one.
exec unshare --cgroup /bin/sh -eu -c '
mount --make-rprivate /
mount -t tmpfs -o mode=0755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/upper2" "$1/work2" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"

mount -t proc -o nosuid,nodev,noexec proc proc
# The kernel is shared: no sysctl of the copy may reach it.
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=1777 tmpfs var/tmp
# A checkout that lies in one of those is there all the same, and what is written to it forgotten.
if [ ! -d "$1/root$2" ]; then
    mkdir -p "$1/root$2"
    mount -t overlay -o "lowerdir=$2,upperdir=$1/upper2,workdir=$1/work2" overlay "$1/root$2"
fi
mount -t tmpfs -o mode=0755 tmpfs dev
for node in null zero full random urandom tty; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=1777 tmpfs dev/shm

# Nothing of what is enabled here starts there, but for the journal.
rm -rf usr/lib/systemd/system/*.wants etc/systemd/system/*.wants etc/fstab
mkdir -p run/systemd/system run/droplet
printf "[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\nWants=systemd-journald.service\n" \
    > run/systemd/system/droplet.target

mkdir run/old
pivot_root . run/old
cd /
umount -l /run/old
rmdir /run/old
# As systemd does on a machine: what it mounts for a service (credentials) reaches the service.
mount --make-rshared /
export container=droplet
exec /lib/systemd/systemd --system --unit=droplet.target
' - "$scratch" "$checkout"
