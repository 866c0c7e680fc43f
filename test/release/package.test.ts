import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import { untilPing, withPod } from "../e2e/hosts.ts";
import { pingDuring } from "../support/pings.ts";
import { debianRoot } from "./debian-root.ts";
import { architecture, one, release, repacked } from "./release.ts";

const { signal } = new AbortController();

/** As 0.7.0's documents and distributions had them. */
const UNIT = {
  environment:
    'FLANNEL_ETCD_ENDPOINTS="@"\nFLANNEL_ETCD_PREFIX="/coreos.com/network"\nFLANNEL_OPTIONS="-v=1 -iface=eth0"\n',
  execStart:
    "/usr/bin/flanneld -etcd-endpoints=$FLANNEL_ETCD_ENDPOINTS -etcd-prefix=$FLANNEL_ETCD_PREFIX $FLANNEL_OPTIONS",
};

test("the package is started by 0.7.0's unit file; an upgrade loses no packet and keeps settings; purging leaves no trace", async () => {
  const file = one(release(), `_${architecture}.deb`);
  using newer = repacked("99.0.0");
  using root = debianRoot();
  await using lab = await Lab.up({ hosts: 2, backend: "vxlan", store: "etcd2", daemons: false, pods: 0, signal });
  const [peer, host] = lab.hosts;
  if (peer === undefined || host === undefined) throw new Error("no hosts");
  await peer.startDaemon();
  await peer.addPod();
  const before = root.files();
  root.bring(file, "root/flannel.deb");
  root.run("apt-get", "install", "-y", "/root/flannel.deb");
  expect(root.files().filter((name) => /^etc\/systemd\/.*flannel/.test(name))).toEqual([]); // enabled nowhere

  writeFileSync(join(root.path, "etc/flannel-0.7.0"), UNIT.environment.replace("@", lab.store.endpoints.join(",")));
  const asSystemd = `set -a; . /etc/flannel-0.7.0; exec ${UNIT.execStart} "$@"`;
  host.daemon.argv = root.enter(["/bin/sh", "-c", asSystemd, "sh", `--subnet-file=${host.subnetFile}`], host.directory);
  await host.startDaemon();
  await host.addPod();
  const { pod } = withPod(host);
  await untilPing(withPod(peer).pod, pod, 10_000);

  root.bring(
    one(
      readdirSync(newer.path).map((name) => join(newer.path, name)),
      ".deb",
    ),
    "root/newer.deb",
  );
  writeFileSync(join(root.path, "etc/flannel/flanneld.env"), "FLANNELD_IFACE=eth0\n");
  const { lost } = await pingDuring(withPod(peer).pod, { to: pod.address, signal }, async () => {
    root.run("dpkg", "-i", "/root/newer.deb");
    await host.daemon.restart();
  });
  expect(lost).toBe(0);
  expect(root.run("dpkg-query", "-W", "flannel")).toContain("99.0.0");
  expect(readFileSync(join(root.path, "etc/flannel/flanneld.env"), "utf8")).toBe("FLANNELD_IFACE=eth0\n");

  await host.daemon.stop();
  expect(existsSync(join(root.path, "var/lib/flannel"))).toBe(true);
  root.run("apt-get", "purge", "-y", "flannel");
  const left = root.files().filter((name) => !before.includes(name));
  expect(left.toSorted()).toEqual(["etc/flannel-0.7.0", "root/flannel.deb", "root/newer.deb"]);
}, 300_000);
