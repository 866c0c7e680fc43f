import type { Argv, CommandModule } from "yargs";
import { formatAddress } from "../../ip/address.ts";
import { equalPrefix, formatPrefix } from "../../ip/prefix.ts";
import type { Lease } from "../../lease/lease.ts";
import { systemClock } from "../../lib/clock.ts";
import { formatSpan, leaseJson, print, printJson, printTable, readSubnet } from "./output.ts";
import { CommandError, runStoreCommand } from "./store-command.ts";
import { withStoreOptions } from "./store-options.ts";

const LEASE_SHAPE = `{subnet, ipv6Subnet, publicIP, publicIPv6, backendType, backendData, backendV6Data, reservation, expiration, revision};
what is absent is null, expiration an ISO 8601 time, revision a string of digits`;

/** `flannel lease …`: which host holds which subnet. */
export const leaseCommand: CommandModule = {
  command: "lease",
  describe: "List and revoke the hosts' leases",
  builder: (yargs) =>
    yargs
      .command("ls", "List every lease and reservation, ordered by subnet", listOptions, (args) =>
        runStoreCommand(args, async ({ withStore }) => {
          const leases = await withStore(false, ({ store }, options) => store.listLeases(args.network, options));
          if (args.json) printJson(leases.map(leaseJson));
          else printLeases(leases);
        }),
      )
      .command("revoke <subnet>", "Take a lease, or a reservation, away", revokeOptions, (args) =>
        runStoreCommand(args, async ({ withStore }) => {
          const subnet = readSubnet(args.subnet);
          const lease = await withStore(false, async ({ store }, options) => {
            const leases = await store.listLeases(args.network, options);
            const found = leases.find((each) => equalPrefix(each.subnet, subnet));
            if (found === undefined) throw new CommandError(`there is no lease on ${formatPrefix(subnet)}`);
            await store.revokeLease(args.network, subnet, options);
            return found;
          });
          const what = lease.isReservation ? "reservation" : "lease";
          if (args.json) printJson({ revoked: leaseJson(lease) });
          else print(`revoked the ${what} of ${formatAddress(lease.attributes.publicIP)} on ${formatPrefix(subnet)}`);
        }),
      )
      .demandCommand(1, "say what to do with leases")
      .strict(),
  handler: () => {},
};

function listOptions(yargs: Argv) {
  return withStoreOptions(yargs).epilogue(`--json prints an array of ${LEASE_SHAPE}.`);
}

function revokeOptions(yargs: Argv) {
  return withStoreOptions(yargs)
    .positional("subnet", { type: "string", demandOption: true, describe: "as 10.5.34.0/24" })
    .epilogue(
      `A host that is up takes a subnet again within a second, the same one if it is free: stop its flanneld first to be rid of it.

--json prints {revoked: LEASE}; LEASE is ${LEASE_SHAPE}.`,
    );
}

/** With columns for the second family only where there is one. */
function printLeases(leases: readonly Lease[]): void {
  const rows = leases.map(describeLease);
  const ipv6 = leases.map(({ ipv6Subnet, attributes: { publicIPv6 } }) => [
    ipv6Subnet === undefined ? "-" : formatPrefix(ipv6Subnet),
    publicIPv6 === undefined ? "-" : formatAddress(publicIPv6),
  ]);
  const columns = ["SUBNET", "PUBLIC IP", "BACKEND", "ENDS"];
  if (!leases.some((lease) => lease.ipv6Subnet !== undefined)) return printTable(columns, rows, "no leases");
  const wide = rows.map((row, index) => row.toSpliced(2, 0, ...(ipv6[index] ?? [])));
  printTable(columns.toSpliced(2, 0, "IPV6 SUBNET", "PUBLIC IPV6"), wide, "no leases");
}

function describeLease(lease: Lease): readonly string[] {
  const { attributes, isReservation, expiresAt } = lease;
  const remaining = expiresAt === undefined ? undefined : expiresAt - systemClock.now();
  const unreserved = remaining === undefined ? "unknown" : remaining > 0 ? `in ${formatSpan(remaining)}` : "overdue";
  return [
    formatPrefix(lease.subnet),
    formatAddress(attributes.publicIP),
    attributes.backendType ?? "-",
    isReservation ? "never (reserved)" : unreserved,
  ];
}
