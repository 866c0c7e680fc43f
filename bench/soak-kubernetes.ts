// npm run soak:kubernetes [-- --minutes 10]: the API server of a cluster is away, one half of the time refusing connections, the other
// answering 503, while pods ping each other a hundred times a second.
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { waitUntil } from "../src/lab/wait.ts";
import { annotations } from "../test/kube/annotations.ts";
import { Cluster } from "../test/kube/cluster.ts";
import { ipJson } from "../test/support/kernel-state.ts";
import { pingDuring } from "../test/support/pings.ts";
import { untilStopped, Verdicts } from "./verdicts.ts";

const { values } = parseArgs({ options: { minutes: { type: "string", default: "10" } } });
const half = (Number(values.minutes) * 60_000) / 2;
/** Per host: one in eight seconds, and those of the beginning. */
const MOST_CALLS = Math.ceil(half / 8_000) + 8;

const signal = untilStopped();
const verdicts = new Verdicts();

await using cluster = await Cluster.up({ hosts: 2, backend: "vxlan", signal });
const { lab, api } = cluster;
const [a, b] = cluster.nodes;
if (a === undefined || b === undefined) throw new Error("no hosts");

const { sent, lost } = await pingDuring(a.pod, { to: b.pod.address, signal }, async () => {
  await api.call("stop");
  await delay(half, undefined, { signal });
  await api.call("faults.add", { times: 1_000_000, fault: { kind: "status", code: 503 } });
  await api.call("resume");
  await api.call("clearCalls");
  await delay(half, undefined, { signal });
  const calls = (await api.calls()).length / lab.hosts.length;
  verdicts.tell(
    `${calls} calls of each host in ${half / 60_000} minutes of 503, at most ${MOST_CALLS}`,
    calls <= MOST_CALLS,
  );

  // What happens while it is away is known once it is back.
  await api.call("addNode", "late", ["10.5.200.0/24"]);
  await api.call("annotate", "late", annotations(b.address.replace(/\.\d+$/, ".200")));
  await api.call("faults.clear");
  const back = performance.now();
  const isThere = async () => (await ipJson(a, "route")).some(({ dst }) => dst === "10.5.200.0/24");
  const found = waitUntil(isThere, { signal, within: 15_000, what: "the peer that came meanwhile is there" });
  const isFound = await found.then(() => true, () => false); // biome-ignore format: one line
  verdicts.tell(
    `a peer that came meanwhile is there ${((performance.now() - back) / 1000).toFixed(1)} s after the server is back`,
    isFound,
  );
});
verdicts.tell(`${sent} pings, ${lost} lost`, lost === 0);
verdicts.conclude();
