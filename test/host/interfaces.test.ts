import { afterAll, beforeAll, expect, test } from "vitest";
import { Lab } from "../../src/lab/lab.ts";
import type { LabHost } from "../../src/lab/lab-host.ts";
import { Service } from "../../src/lab/service.ts";
import { waitUntil } from "../../src/lab/wait.ts";
import { deleteLease, hostsOf, subnetOf, untilPing } from "../e2e/hosts.ts";

const { signal } = new AbortController();

/** Two hosts with two ways to each other: eth0 on the lab's switch, where the default route leads, and a cable of their own, eth1. */
let lab: Lab;

beforeAll(async () => {
  lab = await Lab.up({ hosts: 2, backend: "vxlan", signal });
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  await a.namespace.ip([`link add eth1 type veth peer name eth1 netns ${b.namespace.name}`]);
  for (const [index, host] of [a, b].entries())
    await host.namespace.ip([`addr add ${cable(index)}/24 dev eth1`, "link set eth1 up"]);
});
afterAll(async () => await lab?.down());

function cable(index: number): string {
  return `192.0.2.${index + 1}`;
}

/** A daemon like the lab's with more options, until the end of the block. */
async function daemon(host: LabHost, ...flags: readonly string[]) {
  const argv = [...host.daemon.argv, ...flags];
  const { namespace, directory } = host;
  const service = new Service({ name: "choosing", argv, namespace, signal, directory });
  await service.start();
  await service.ready();
  return service;
}

/** One that is not to get ready. */
async function refused({ daemon: { argv }, namespace, directory }: LabHost, ...flags: readonly string[]) {
  const service = new Service({ name: "refused", argv: [...argv, ...flags], namespace, signal, directory });
  await service.start();
  return Object.assign(service, { [Symbol.asyncDispose]: async () => void (await service.stop()) });
}

async function says(service: Service, text: string): Promise<void> {
  await waitUntil(() => service.log().includes(text), { signal, within: 30_000, what: `the log says ${text}` });
}

const CASES: readonly {
  readonly flags: (index: number) => readonly string[];
  readonly link: string;
  readonly rule: (index: number) => string;
}[] = [
  { flags: () => [], link: "eth0", rule: () => "default route" },
  { flags: () => ["--iface=eth1"], link: "eth1", rule: () => "--iface=eth1" },
  {
    flags: (index) => [`--iface=eth7,${cable(index)}`, "--iface=eth0"],
    link: "eth1",
    rule: (index) => `--iface=${cable(index)}`,
  },
  {
    flags: () => ["--iface=eth7", "--iface-regex=^10\\.", "--iface-regex=^192\\.0\\.2\\."],
    link: "eth1",
    rule: () => "--iface-regex=^192\\.0\\.2\\.",
  },
  { flags: () => ["--iface-regex=^e.h1$"], link: "eth1", rule: () => "--iface-regex=^e.h1$" },
  {
    flags: () => ["--iface-can-reach=192.0.2.254"],
    link: "eth1",
    rule: () => "--iface-can-reach=192.0.2.254",
  },
  {
    flags: (index) => [`--public-ip=${cable(index)}`],
    link: "eth1",
    rule: (index) => `--public-ip=${cable(index)}`,
  },
];

for (const { flags, link, rule } of CASES)
  test(`flanneld ${flags(0).join(" ") || "without options"} uses ${link}, says why and what else there was, and pods meet over it`, async () => {
    const hosts = hostsOf(lab, 2);
    const [a, b] = hosts;
    if (a === undefined || b === undefined) throw new Error("no hosts");
    for (const host of hosts) if (host.daemon.isRunning) await host.daemon.stop();
    for (const host of hosts) await deleteLease(lab, host);
    const services = await Promise.all(hosts.map((host, index) => daemon(host, ...flags(index))));
    try {
      for (const [index, host] of hosts.entries()) {
        const [address, other] = link === "eth0" ? [host.address, cable(index)] : [cable(index), host.address];
        const said = services[index]
          ?.log()
          .split("\n")
          .filter((line) => line.includes("using interface"))
          .at(-1);
        expect(said).toContain(`name=${link} address=${address} publicIP=${address} `);
        expect(said?.replaceAll('"', "")).toContain(`rule=${rule(index).replaceAll("\\", "\\\\")} `);
        expect(said).toContain(`others="${link === "eth0" ? "eth1" : "eth0"} (${other}`);
        expect(await host.run(["ip", "-d", "link", "show", "flannel.1"])).toContain(`local ${address} dev ${link} `);
      }
      await untilPing(a.pod, b.pod);
    } finally {
      for (const service of services) await service.stop();
    }
  });

test("flanneld tells others the address of a NAT, by --public-ip, and sends from its own", async () => {
  const [a] = hostsOf(lab, 1);
  if (a === undefined) throw new Error("no host");
  await deleteLease(lab, a);
  const service = await daemon(a, "--public-ip=198.51.100.7");
  try {
    expect(service.log()).toContain(`name=eth0 address=${a.address} publicIP=198.51.100.7 rule="default route"`);
    expect(await a.run(["ip", "-d", "link", "show", "flannel.1"])).toContain(`local ${a.address} dev eth0 `);
  } finally {
    await service.stop();
  }
});

test("flanneld refuses the address of a NAT that leads to another host's VTEP, also while that host's flanneld is away", async () => {
  const [a, b] = hostsOf(lab, 2);
  if (a === undefined || b === undefined) throw new Error("no hosts");
  const nat = "198.51.100.8";
  const first = await daemon(a, `--public-ip=${nat}`);
  await first.stop();
  await a.run(["nft", "flush", "ruleset"]); // as a host without --underlay-admission: else strangers are not answered
  // The NAT passes on to a what comes for its address.
  await a.namespace.ip([`addr add ${nat}/32 dev eth0`]);
  await b.namespace.ip([`route add ${nat} via ${a.address}`]);
  const mac = /link\/ether (\S+)/.exec(await a.run(["ip", "link", "show", "flannel.1"]))?.[1];
  await using second = await refused(b, `--public-ip=${nat}`);
  await says(
    second,
    `another host, whose VTEP ${mac} answers there, has the address ${nat} too, and the lease on ${subnetOf(a)}`,
  );
  await a.namespace.ip([`addr del ${nat}/32 dev eth0`]);
});

test("flanneld leaves the lease to another virtual machine that has the same address on a link of its own", async () => {
  const hosts = hostsOf(lab, 2);
  const [a, b] = hosts;
  if (a === undefined || b === undefined) throw new Error("no hosts");
  for (const { namespace } of hosts)
    await namespace.ip([
      "link add enp0s3 type veth peer name nat",
      "link set nat up",
      "link set enp0s3 up",
      "addr add 10.0.2.15/24 dev enp0s3",
      "route replace default via 10.0.2.2 dev enp0s3",
    ]);
  const first = await daemon(a);
  try {
    const mac = /link\/ether (\S+)/.exec(await a.run(["ip", "link", "show", "flannel.1"]))?.[1];
    await using second = await refused(b);
    await says(second, `another host, whose flanneld runs and whose VTEP is ${mac}, has the address 10.0.2.15 too`);
    await says(first, "our lease was renewed by somebody else; it was told that we have it");
    expect(first.log()).not.toContain("rewritten");
  } finally {
    await first.stop();
  }
});

test("flanneld ends with 1 if no interface will do, and says of each option why", async () => {
  const [a] = hostsOf(lab, 1);
  if (a === undefined) throw new Error("no host");
  const flags = ["--iface=eth7", "--iface-regex=^10\\.99\\.", "--iface-can-reach=203.0.113.9"];
  await a.namespace.ip(["route del default"]);
  const { code, stderr } = await a.exec([...a.daemon.argv, ...flags]);
  expect(code).toBe(1);
  for (const word of ["--iface:", "eth7", "--iface-regex:", "10", "--iface-can-reach:", "203.0.113.9", cable(0)])
    expect(stderr).toContain(word);
});
