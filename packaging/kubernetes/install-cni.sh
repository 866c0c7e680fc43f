#!/bin/sh
# Installs the CNI plugin on a node: install-cni.sh BIN_DIRECTORY CONFIG_DIRECTORY CONFLIST
# The node has no Node of its own, so one comes along. Every file appears at once; a plugin that runs meanwhile ends as it began.
set -eu
binaries=$1 configs=$2 conflist=$3
root=$(dirname -- "$(readlink -f -- "$0")")/..

for node in "$root"/node_modules/node-linux-*/bin/node; do [ -x "$node" ] && break; done
program=$root/dist/flannel-cni.cjs
tree=$binaries/.flannel-$(cat "$node" "$program" | sha256sum | cut -c1-16)

if [ ! -d "$tree" ]; then
  rm -rf -- "$binaries"/.flannel-*.new
  mkdir "$tree.new"
  cp -- "$node" "$tree.new/node"
  cp -- "$program" "$tree.new/flannel-cni.cjs"
  sync
  mv -T -- "$tree.new" "$tree"
fi

# Other plugins than this one and the one before it are of nobody's use.
before=$(sed -n 's/^# //p' "$binaries/flannel" 2>/dev/null || true)
for other in "$binaries"/.flannel-*; do
  case $other in "$tree" | "$before") ;; *) rm -rf -- "$other" ;; esac
done

cat >"$binaries/.flannel.new" <<END
#!/bin/sh
# $tree
exec "$tree/node" "$tree/flannel-cni.cjs" "\$@"
END
chmod 755 "$binaries/.flannel.new"
mv -f -- "$binaries/.flannel.new" "$binaries/flannel"

cp -- "$conflist" "$configs/.10-flannel.conflist.new"
mv -f -- "$configs/.10-flannel.conflist.new" "$configs/10-flannel.conflist"
echo "installed $binaries/flannel and $configs/10-flannel.conflist"
