// Another process on the same embedded store, as a daemon would be: what it does is its first argument, and it speaks in lines of JSON.

import { setTimeout as delay } from "node:timers/promises";
import { parseAddress } from "../../src/ip/address.ts";
import { formatPrefix, parsePrefix } from "../../src/ip/prefix.ts";
import { HistoryLostError, LeaseTakenError, StoreUnavailableError } from "../../src/lease/errors.ts";
import { leaseKey } from "../../src/lease/lease.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { openSqliteRegistry } from "../../src/store/sqlite/sqlite-registry.ts";

const [role = "", file = "", name = "", count = "0"] = process.argv.slice(2);
const { signal } = new AbortController();
const attributes = { publicIP: parseAddress("192.0.2.1"), backendType: name };
const say = (line: unknown) => process.stdout.write(`${JSON.stringify(line)}\n`);
const subnetAt = (index: number) => parsePrefix(`10.${5 + (index >> 8)}.${index & 255}.0/24`);

const registry = await openSqliteRegistry(file, { logger: silentLogger, grace: 0 }, { signal });
const { leases, cursor } = await registry.listLeases("", { signal });

switch (role) {
  /** Tells of every event when it came, by the wall clock. */
  case "watch": {
    let since = cursor;
    let isReady = false;
    for (let isLost = false; !isLost; )
      try {
        for await (const { events, cursor: now } of registry.watchLeases("", since, { signal })) {
          since = now;
          if (!isReady) say("ready");
          isReady = true;
          const at = performance.timeOrigin + performance.now();
          for (const event of events)
            say({ type: event.type, subnet: leaseKey(event.type === "added" ? event.lease : event), at });
        }
      } catch (error) {
        if (error instanceof StoreUnavailableError)
          await delay(10); // as while a file is being copied over it
        else if (error instanceof HistoryLostError) isLost = true;
        else throw error;
      }
    say("history lost");
    break;
  }
  /** Takes as many of the first `count` subnets as it can, starting when told, and tells which. */
  case "race": {
    say("ready");
    await new Promise((resolve) => process.stdin.once("data", resolve));
    const won: string[] = [];
    for (let index = 0; index < Number(count); index++) {
      try {
        const lease = await registry.createLease(
          "",
          { subnet: subnetAt(index), attributes, isReservation: false },
          { signal },
        );
        won.push(formatPrefix(lease.subnet));
      } catch (error) {
        if (!(error instanceof LeaseTakenError)) throw error;
      }
    }
    say({ won });
    process.exit(0);
    break;
  }
  /** Renews its leases for ever and tells each revision once it is durable. */
  case "churn": {
    let lease = leases.find((each) => each.attributes.backendType === name);
    lease ??= await registry.createLease(
      "",
      { subnet: subnetAt(Number(count)), attributes, isReservation: false },
      { signal },
    );
    for (;;) {
      lease = await registry.updateLease("", lease, lease, { signal });
      say(Number(lease.revision));
    }
  }
  default:
    throw new Error(`no such role: ${role}`);
}
