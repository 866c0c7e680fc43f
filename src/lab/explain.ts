import { createColors } from "picocolors";
import type { Lab } from "./lab.ts";
import type { LabHost } from "./lab-host.ts";
import { launcher } from "./launcher.ts";
import type { TextOptions } from "./table.ts";

/** What there is to see, and the command that shows it. */
interface Exhibit {
  readonly title: string;
  readonly argv: readonly string[];
  /** Which lines of its output are about flannel; all if left out. */
  readonly lines?: RegExp;
}

/** Tells what bringing the lab up really did, read back from the store and from the first host's kernel. */
export async function explain(lab: Lab, options: TextOptions): Promise<string> {
  const { bold, cyan, dim } = createColors(options.colors);
  const [host] = lab.hosts;
  if (host === undefined) return "a lab without hosts has nothing to show";
  const parts: string[] = [];
  for (const { title, argv, lines } of exhibits(lab, host)) {
    const { stdout, stderr } = await host.namespace.exec(argv);
    const shown = `${stdout}${stderr}`.split("\n").filter((line) => line.trim() !== "" && (lines?.test(line) ?? true));
    const command = argv.map((word) => word.replace(/^.*\/bin\/flannel$/, "flannel")).join(" ");
    parts.push([bold(title), dim(`${host.name}# `) + cyan(command), ...shown.map(clip)].join("\n"));
  }
  return parts.join("\n\n");
}

/** Indented, and not longer than a line of most terminals: what `ip -d` says at the end of its lines is for experts. */
function clip(line: string): string {
  const text = `  ${line.trimEnd().replace(/^ {4,}/, "    ")}`;
  return text.length <= WIDTH ? text : `${text.slice(0, WIDTH - 1)}…`;
}

const WIDTH = 100;

function exhibits(lab: Lab, host: LabHost): readonly Exhibit[] {
  const type = lab.backend.Type.toLowerCase();
  const vni = typeof lab.backend["VNI"] === "number" ? lab.backend["VNI"] : 1;
  const device = `flannel.${vni}`;
  const vxlan: readonly Exhibit[] = [
    { title: "The device that wraps packets into UDP", argv: ["ip", "-d", "link", "show", device] },
    { title: "To which host a peer's MAC address belongs", argv: ["bridge", "fdb", "show", "dev", device] },
    { title: "Which MAC address a peer's subnet is sent to", argv: ["ip", "neigh", "show", "dev", device] },
  ];
  const port = typeof lab.backend["Port"] === "number" ? lab.backend["Port"] : 8285;
  const udp: readonly Exhibit[] = [
    {
      title: "The device that gives packets to flanneld",
      argv: ["ip", "-4", "addr", "show", "type", "tun"],
      lines: /mtu|inet /,
    },
    { title: "The socket that sends and gets them", argv: ["ss", "-Hnulp", `sport = :${port}`] },
  ];
  return [
    {
      title: "Every host took a lease on a subnet",
      argv: [launcher("flannel"), "lease", "ls", ...lab.store.flags],
    },
    { title: "What containers on this host may use", argv: ["cat", host.subnetFile] },
    ...(type === "vxlan" ? vxlan : type === "udp" ? udp : []),
    { title: "The routes to the other hosts' pods", argv: ["ip", "route"], lines: /^(?!default)/ },
  ];
}
