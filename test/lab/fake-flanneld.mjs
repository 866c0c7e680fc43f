// Stands in for flanneld where the lab itself is tested: takes the subnet of its host's number, writes subnet.env, routes to nobody, says READY=1.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { sendDatagram } from "../../src/kernel/datagram.ts";

const flag = (name) => process.argv.find((argument) => argument.startsWith(`--${name}=`))?.slice(name.length + 3);
process.on("SIGTERM", () => process.exit(0));
console.error(`fake flanneld ${process.pid} starts`);
for (const name of Object.keys(process.env)) if (name.startsWith("FLANNELD_")) console.error(`knows ${name}`);
if (process.argv.includes("--fail")) {
  console.error("E1122 cannot: asked to fail");
  process.exit(3);
}

const own = networkInterfaces()["eth0"].find(({ family }) => family === "IPv4").address;
const number = Number(own.split(".")[3]);
mkdirSync(flag("state-dir"), { recursive: true });
writeFileSync(
  flag("subnet-file"),
  `FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.${number}.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n`,
);
const prefix = own.slice(0, own.lastIndexOf("."));
if (!process.argv.includes("--no-routes"))
  for (let peer = 1; peer <= 9; peer++)
    if (peer !== number) execFileSync("ip", ["route", "replace", `10.5.${peer}.0/24`, "via", `${prefix}.${peer}`]);

if (!process.argv.includes("--never-ready")) sendDatagram(process.env.NOTIFY_SOCKET, Buffer.from("READY=1"));
setInterval(() => {}, 1 << 30);
