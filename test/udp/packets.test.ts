import { createInterface } from "node:readline";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import type { Place } from "../../src/lab/place.ts";
import { ended } from "../../src/lab/program.ts";
import { hostsOf, untilPing } from "../e2e/hosts.ts";
import { capture } from "../support/capture.ts";
import { saysOnce } from "../support/tcp.ts";
import { setRealDatagrams } from "./link-conditions.ts";

// Needs root: network namespaces.

const { signal } = new AbortController();

describe.each([
  ["with offloads", true],
  ["without offloads", false],
])("udp %s", (_, Offload) => {
  let lab: Lab;
  let a: LabHost & { readonly pod: Place };
  let b: typeof a;

  beforeAll(async () => {
    lab = await Lab.up({ hosts: 2, backend: { Type: "udp", Offload }, signal });
    [a, b] = hostsOf(lab, 2) as [typeof a, typeof a];
    await untilPing(a.pod, b.pod);
  });
  afterAll(() => lab.down());

  test.each([
    ["as they are", false],
    ["each a real one", true],
  ])("carries datagrams of every size, and trains of them; outer datagrams %s", async (_unused, isReal) => {
    await setRealDatagrams([a, b], isReal);
    const program = new URL("./sizes-program.ts", import.meta.url).pathname;
    const receiver = b.pod.spawn([process.execPath, program, "receive"], { stdio: ["ignore", "pipe", "inherit"] });
    const end = ended(receiver);
    const lines: string[] = [];
    if (receiver.stdout !== null) createInterface({ input: receiver.stdout }).on("line", (line) => lines.push(line));
    await saysOnce(receiver.stdout, "ready", { signal });
    const sent = JSON.parse(await a.pod.run([process.execPath, program, "send", b.pod.address]));
    receiver.kill("SIGTERM");
    await end;
    const { received, wrong } = JSON.parse(lines.at(-1) ?? "");
    const bySize = (counts: [number, number][]) => counts.toSorted(([one], [other]) => one - other);
    expect(bySize(received)).toEqual(bySize(sent));
    expect(wrong).toBe(0);
  });

  test("carries pings of all sizes, fragmented or not", async () => {
    for (const size of [0, 1, 7, 8, 15, 16, 100, 1443, 1444, 1445, 1446, 2943, 2944, 8192, 30_001, 65_507])
      expect(await a.pod.run(["ping", "-n", "-c1", "-W5", "-s", String(size), b.pod.address])).toContain(
        " 0% packet loss",
      );
  });

  test("carries a packet of just the MTU that must not be fragmented, and none larger", async () => {
    const { mtu } = a.subnetEnv();
    const ping = (size: number, wait: number) =>
      a.pod.exec(["ping", "-n", "-c1", `-W${wait}`, "-M", "do", "-s", String(size), b.pod.address]);
    expect((await ping(mtu - 28, 5)).code).toBe(0);
    const { code, stderr, stdout } = await ping(mtu - 27, 0.3);
    expect(code).not.toBe(0);
    expect(stdout + stderr).toContain(`mtu=${mtu}`);
  });

  test("leaves IP options and the bit that forbids fragments alone", async () => {
    const hops = await a.pod.run(["ping", "-n", "-c1", "-W5", "-R", b.pod.address]);

    expect(hops.match(/\d+\.\d+\.\d+\.\d+$/gm)).toEqual(
      [
        [a.pod.address, hostsAddress(a, 0), hostsAddress(b, 1), b.pod.address],
        [b.pod.address, hostsAddress(b, 0), hostsAddress(a, 1), a.pod.address],
      ].flat(),
    );
    const seen = await capture(b.pod, { link: "eth0", filter: "-v icmp[icmptype]==icmp-echo", signal });
    for (const mode of ["do", "dont"]) await a.pod.run(["ping", "-n", "-c1", "-W5", "-M", mode, b.pod.address]);
    const flags = (await seen.stop(4)).flatMap((line) => /flags \[(\w+)\]/.exec(line)?.[1] ?? []); // two lines each
    expect(flags).toEqual(["DF", "none"]);
  });

  test("is a hop at each end: TTL ends at the sender's device, then at the receiver's", async () => {
    const hops: string[] = [];
    for (let ttl = 1; ttl <= 5; ttl++) {
      const { stdout } = await a.pod.exec(["ping", "-n", "-c1", "-W5", "-t", String(ttl), b.pod.address]);
      hops.push(
        /From ([\d.]+) .*Time to live exceeded/.exec(stdout)?.[1] ?? /from ([\d.]+):/.exec(stdout)?.[1] ?? "nobody",
      );
    }
    expect(hops).toEqual([
      hostsAddress(a, 1),
      hostsAddress(a, 0),
      hostsAddress(b, 0),
      hostsAddress(b, 0),
      b.pod.address,
    ]);
  });

  test("tells pods and the host itself that a subnet nobody has cannot be reached", async () => {
    for (const from of [a.pod, a]) {
      const { stdout } = await from.exec(["ping", "-n", "-c1", "-W5", "10.5.255.1"]);
      expect(stdout).toContain(`From ${hostsAddress(a, 0)} icmp_seq=1 Destination Net Unreachable`);
    }
    const { stdout } = await a.pod.exec([
      "bash",
      "-c",
      "echo > /dev/udp/10.5.255.1/9; timeout 10 bash -c '< /dev/tcp/10.5.255.1/9' 2>&1",
    ]);
    expect(stdout).toMatch(/unreachable/i);
  });
});

/** An address in the host's subnet: 0 is the device's, 1 the bridge's. */
function hostsAddress(host: LabHost, last: number): string {
  const [pod] = host.pods;
  return `${pod?.address.replace(/\d+$/, "")}${last}`;
}
