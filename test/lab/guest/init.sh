#!/bin/sh
# The first process of a guest. The machine's own root is mounted read-only by hostfs; everything written goes to tmpfs, to the guest's
# disks or to the share. Settings come from the kernel's command line: LAB_SHARE is a path of the host.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/lvm /run/mdadm /run/lab/share /run/lab/project /run/lab/modules/usr/lib
mount -t hostfs none /run/lab/share -o "$LAB_SHARE" || echo "lab: no share"
exec >>/run/lab/share/guest.log 2>&1 </dev/null

# Kernel modules lie beside the program; the folder where modprobe looks exists only where some kernel package is installed.
if [ -d /usr/lib/modules ]; then
  mount --bind /usr/lib/uml/modules /usr/lib/modules
  modprobe="modprobe -a"
else
  ln -s /usr/lib/uml/modules /run/lab/modules/usr/lib/modules
  ln -s usr/lib /run/lab/modules/lib
  modprobe="modprobe -d /run/lab/modules -a"
fi
# Others are loaded by the kernel itself when they are asked for.
$modprobe overlay loop raid1 raid10 dm-snapshot dm-thin-pool || echo "lab: modules are missing"

mount -t ext4 -o ro /dev/ubdp /run/lab/project
for each in etc var; do
  mkdir -p /run/lab/$each/upper /run/lab/$each/work
  mount -t overlay overlay -o "lowerdir=/$each,upperdir=/run/lab/$each/upper,workdir=/run/lab/$each/work" /$each
done
# What the image's cache has not seen is added here.
mkdir -p /run/lab/cache/upper /run/lab/cache/work
mount -t overlay overlay -o "lowerdir=/run/lab/project/compile-cache,upperdir=/run/lab/cache/upper,workdir=/run/lab/cache/work" /run/lab/project/compile-cache
for each in tmp dev/shm mnt; do
  [ -d /$each ] || mkdir /$each
  mount -t tmpfs -o mode=1777 tmpfs /$each
done
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
ln -sf /proc/self/mounts /etc/mtab
# No udev: LVM makes its own device nodes, and keeps nothing about machines that are not this one.
rm -rf /etc/lvm
mkdir -p /etc/lvm
cat >/etc/lvm/lvm.conf <<'END'
devices { dir="/dev" scan=["/dev"] use_devicesfile=0 obtain_device_list_from_udev=0 external_device_info_source="none" md_component_detection=1 }
activation { udev_sync=0 udev_rules=0 monitoring=0 verify_udev_operations=1 thin_pool_autoextend_threshold=100 snapshot_autoextend_threshold=100 }
backup { backup=0 archive=0 }
END
# One processor: threads of the JavaScript engine only wait for each other, and each switch costs.
export NODE_OPTIONS=--v8-pool-size=0
export LVM_SUPPRESS_FD_WARNINGS=1 NODE_COMPILE_CACHE=/run/lab/project/compile-cache NODE_COMPILE_CACHE_PORTABLE=1
ip link set lo up || ifconfig lo up

if [ -n "$LAB_SHELL" ]; then
  cd /run/lab/project
  setsid sh -c 'exec sh -i </dev/tty0 >/dev/tty0 2>&1'
else
  # The host's own limit is stricter; this one ends a guest that lost its host.
  (sleep "${LAB_LIMIT_S:-600}" && echo o >/proc/sysrq-trigger) &
  cd /
  /run/lab/project/node_modules/.bin/node --disable-warning=ExperimentalWarning /run/lab/project/test/lab/guest/main.ts
  echo "lab: the runner ended with $?"
fi
sync
echo o >/proc/sysrq-trigger
sleep 60
