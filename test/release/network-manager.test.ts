// Debian's NetworkManager beside flannel's devices, with and without the file that packaging/systemd has for it.
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { debianRoot, type Root } from "./debian-root.ts";

const OURS = fileURLToPath(new URL("../../packaging/systemd/NetworkManager/flannel.conf", import.meta.url));

/** A host with the devices of vxlan, of both families, and udp, and one of its own; then NetworkManager, until it has looked at all of them. */
const HOST = `
exec 3>&1 >/tmp/log 2>&1
set -e
mount -o remount,ro /sys # else it waits for udev
mkdir -p /run/dbus
dbus-daemon --system --fork
ip link set lo up
ip link add flannel.1 type vxlan id 1 local 127.0.0.1 dstport 8472 nolearning
ip link add flannel-v6.1 type vxlan id 1 local ::1 dstport 8473 nolearning
ip tuntap add flannel0 mode tun
ip link add br-other type bridge
ip addr add 10.5.34.0/32 dev flannel.1
ip addr add fd00:5:34::/128 dev flannel-v6.1
ip addr add 10.6.34.0/16 dev flannel0
ip addr add 192.0.2.1/24 dev br-other
for device in flannel.1 flannel-v6.1 flannel0 br-other; do ip link set $device up; done
ip route add 10.5.67.0/24 via 10.5.67.0 dev flannel.1 onlink
NetworkManager
nm-online --wait-for-startup --quiet --timeout=60
nmcli --get-values DEVICE,STATE device >&3
ip route show dev flannel.1 >&3`;

let root: Root;

beforeAll(() => {
  root = debianRoot();
  root.run("apt-get", "update", "-q");
  root.run("apt-get", "install", "-q", "-y", "--no-install-recommends", "network-manager", "dbus", "iproute2");
}, 900_000);

afterAll(() => root?.[Symbol.dispose]());

/** What it says of each device, and the routes by flannel's. */
function states(): readonly string[] {
  const inside = root.enter(["/bin/sh", "-c", HOST]);
  const apart = ["--net", "--pid", "--fork", "--kill-child", "--", ...inside];
  return execFileSync("unshare", apart, { encoding: "utf8" }).trimEnd().split("\n").toSorted();
}

const ROUTE = "10.5.67.0/24 via 10.5.67.0 onlink";

test("NetworkManager leaves flannel's devices alone where it has our file, and takes them for its own elsewhere", () => {
  const devices = ["flannel-v6.1", "flannel.1", "flannel0"];
  const all = (state: string) =>
    [ROUTE, "br-other:connected (externally)", ...devices.map((name) => `${name}:${state}`)].toSorted();
  const ofInterest = () => states().filter((line) => !line.startsWith("lo:"));
  expect(ofInterest()).toEqual(all("connected (externally)"));
  mkdirSync(join(root.path, "etc/NetworkManager/conf.d"), { recursive: true });
  root.bring(OURS, "etc/NetworkManager/conf.d/flannel.conf");
  expect(ofInterest()).toEqual(all("unmanaged"));
});
