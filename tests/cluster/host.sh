# Makes this shell, alone in new mount, UTS and process namespaces, one host with sshd: NAME CHECKOUT VENV FOLDER.
# FOLDER, from the machine, holds what all hosts share: keys, passwd, hosts, sshd_config, store. Nothing of the machine is
# written: the checkout is bound as it is, and changes to the environment stay in an overlay in memory.
set -eu
name=$1 checkout=$2 venv=$3 folder=$4
hostname "$name"
mount --make-rprivate /
mount -t tmpfs -o size=4g none /mnt
mkdir -p /mnt/home/.ssh /mnt/tmp /mnt/shared /mnt/checkout /mnt/upper /mnt/work /mnt/venv
chmod 1777 /mnt/tmp
mount --bind "$folder" /mnt/shared
mount --bind "$checkout" /mnt/checkout
mount -o remount,ro,bind /mnt/checkout
mount -t overlay overlay -o "lowerdir=$venv,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/venv
mount --bind /mnt/shared/passwd /etc/passwd
mount --bind /mnt/shared/hosts /etc/hosts
mount -t tmpfs none /run
mount -t tmpfs none /dev/shm
mount --bind /mnt/tmp /tmp
# where they lay under /tmp they are out of sight now
mkdir -p "$checkout" "$venv" /run/sshd
mount --bind /mnt/checkout "$checkout"
mount --bind /mnt/venv "$venv"
# the environment is there, where the cluster file makes one
mkdir -p /mnt/home/backstop/.venv
mount --bind /mnt/venv /mnt/home/backstop/.venv
cp /mnt/shared/key /mnt/home/.ssh/id_ed25519
ip link set lo up
exec env -i PATH="$PATH" /usr/sbin/sshd -D -e -f /mnt/shared/sshd_config
