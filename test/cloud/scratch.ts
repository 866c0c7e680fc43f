import { Lab } from "../../src/lab/lab.ts";
import { residentMiB } from "../support/process-usage.ts";
import { AwsLab } from "./aws-lab.ts";
import { ALL_ACTIONS } from "./ec2-api.ts";
import { SUBNET_TABLE } from "./fake-vpc.ts";
import { GceLab } from "./gce-lab.ts";

const { signal } = new AbortController();
const pause = (ms: number) => new Promise((r) => setTimeout(r, ms));
{
  await using lab = await Lab.up({
    hosts: 2,
    pods: 0,
    daemons: false,
    backend: { Type: "aws-vpc", CheckInterval: 5 },
    signal,
  });
  await using aws = await AwsLab.open(lab);
  const [a, b] = lab.hosts;
  if (!a || !b) throw new Error();
  console.log("aws READY", await a.startDaemon(), await b.startDaemon());
  for (const h of [a, b]) await h.addPod();
  await pause(1000);
  console.log("RSS", residentMiB(a.daemon.pid ?? 0));
  console.log("restart", await a.daemon.restart("SIGTERM"), await a.daemon.restart("SIGTERM"));
  console.log(a.daemon.log());
  console.log(aws.vpc.routesOf(SUBNET_TABLE));
  console.log(await a.run(["ip", "route"]));
  console.log((await lab.ping()).map((p) => p.time));
  aws.api.allowed = ALL_ACTIONS.filter((x) => x !== "CreateRoute");
  const subnet =
    aws.vpc
      .routesOf(SUBNET_TABLE)
      .find((r) => r.endsWith(aws.instance(b).networkInterface))
      ?.split(" ")[0] ?? "";
  await aws.vpc.unset(SUBNET_TABLE, subnet);
  await pause(8000);
  console.log(b.daemon.log().split("\n").slice(-6).join("\n"));
}
{
  await using lab = await Lab.up({
    hosts: 2,
    pods: 0,
    daemons: false,
    backend: { Type: "gce", CheckInterval: 5 },
    signal,
  });
  await using gce = await GceLab.open(lab);
  const [a] = lab.hosts;
  if (!a) throw new Error();
  gce.instance(a).canIpForward = false;
  console.log("gce READY", await a.startDaemon());
  await pause(1000);
  console.log("RSS", residentMiB(a.daemon.pid ?? 0));
  console.log("restart", await a.daemon.restart("SIGTERM"));
  console.log(a.daemon.log());
}
