#!/bin/sh
# image.sh TARBALL ROOT: what the image has on top of Debian and Python, laid out below ROOT.
set -eu
if [ $# -ne 2 ] || ! [ -f "$1" ]; then
    echo 'Usage: image.sh TARBALL ROOT, with the one tarball that make dist has built' >&2
    exit 2
fi
tarball=$1
root=$2
here=$(cd "$(dirname "$0")" && pwd -P)
user=10001:10001  # as in the Dockerfile

mkdir -p "$root/opt/dkv" "$root/usr/local/bin" "$root/etc/dkv" "$root/var/lib/dkv"
tar -xzf "$tarball" -C "$root/opt/dkv" --strip-components=1
for name in dkvsrv dkvctl dkvbench; do
    ln -s "/opt/dkv/bin/$name" "$root/usr/local/bin/$name"
done
cp "$here/dkvsrv.yaml" "$root/etc/dkv/dkvsrv.yaml"
chmod 0750 "$root/var/lib/dkv"
if [ "$(id -u)" -eq 0 ]; then  # docker build is root; a test may not be
    chown "$user" "$root/var/lib/dkv"
fi
