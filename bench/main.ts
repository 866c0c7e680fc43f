// npm run bench [-- --only start,cni,latency,leases,kubernetes,server,packets --leases 100,1000 --store etcd2 --rounds 3 --seconds 4 --json]
import { parseArgs } from "node:util";
import { benchCni } from "./cni.ts";
import { type Figure, type Report, renderFigures } from "./figures.ts";
import { benchKubernetes } from "./kubernetes.ts";
import { benchLatency } from "./latency.ts";
import { benchLeases } from "./leases.ts";
import { benchServer } from "./server.ts";
import { benchStartup } from "./startup.ts";
import { benchThroughput } from "./throughput.ts";

const { values } = parseArgs({
  options: {
    only: { type: "string", default: "start,cni,latency,leases,kubernetes,server,packets" },
    leases: { type: "string", default: "100,1000,5000,10000,50000" },
    store: { type: "string", default: "etcd2" },
    rounds: { type: "string", default: "3" },
    seconds: { type: "string", default: "4" },
    json: { type: "boolean", default: false },
  },
});

const stop = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.on(name, () => stop.abort(new Error(name)));

const figures: Figure[] = [];
const report: Report = (figure) => {
  figures.push(figure);
  if (!values.json)
    process.stderr.write(`${figure.part}: ${figure.what}: ${figure.value.toPrecision(4)} ${figure.unit}\n`);
};

const parts: Readonly<Record<string, (signal: AbortSignal) => Promise<void>>> = {
  start: (signal) => benchStartup(report, signal),
  cni: (signal) => benchCni(report, signal),
  latency: (signal) => benchLatency(report, signal),
  leases: (signal) =>
    benchLeases(report, { counts: values.leases.split(",").map(Number), store: parseStore(values.store) }, signal),
  server: (signal) => benchServer(report, signal),
  kubernetes: (signal) => benchKubernetes(report, signal),
  packets: (signal) =>
    benchThroughput(report, { rounds: Number(values.rounds), seconds: Number(values.seconds) }, signal),
};

function parseStore(text: string): "etcd2" | "etcd3" | "embedded" {
  if (text === "etcd2" || text === "etcd3" || text === "embedded") return text;
  throw new Error(`--store must be etcd2, etcd3 or embedded, not ${text}`);
}

for (const name of values.only.split(",")) {
  const part = parts[name];
  if (part === undefined) throw new Error(`--only knows ${Object.keys(parts).join(", ")}, not ${name}`);
  await part(stop.signal);
}
process.stdout.write(values.json ? `${JSON.stringify(figures, undefined, 2)}\n` : `${renderFigures(figures)}\n`);
