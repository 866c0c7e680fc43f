// Stands in for flanneld where the lab itself is tested: takes the subnet of its host's number, writes subnet.env, routes to nobody, says READY=1.
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import koffi from "koffi";

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

if (!process.argv.includes("--never-ready")) notify(process.env.NOTIFY_SOCKET, "READY=1");
setInterval(() => {}, 1 << 30);

function notify(path, message) {
  const libc = koffi.load(null);
  const fd = libc.func("int socket(int, int, int)")(1, 2, 0);
  const address = Buffer.alloc(110);
  address.writeUInt16LE(1);
  address.write(path, 2);
  const data = Buffer.from(message);
  const sendto = libc.func("int64_t sendto(int, const uint8_t *, size_t, int, const uint8_t *, uint32_t)");
  if (Number(sendto(fd, data, data.length, 0, address, 2 + path.length + 1)) < 0)
    throw new Error(`errno ${koffi.errno()}`);
}
