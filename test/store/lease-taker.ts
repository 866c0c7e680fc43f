// node lease-taker.ts FILE: takes one lease of an embedded store after the other until it is killed, and says "busy" once it has begun.
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { openSqliteRegistry } from "../../src/store/sqlite/sqlite-registry.ts";

const { signal } = new AbortController();
const registry = await openSqliteRegistry(process.argv[2] ?? "", { logger: silentLogger }, { signal });
for (let number = 0; number < 65_536; number++) {
  const subnet = parsePrefix(`10.${number >> 8}.${number & 255}.0/24`);
  const attributes = { publicIP: parseAddress("192.0.2.1"), backendType: "host-gw" };
  await registry.createLease("", { subnet, attributes, isReservation: false }, { signal });
  if (number === 100) console.log("busy");
}
