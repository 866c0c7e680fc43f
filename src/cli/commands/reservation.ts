import type { Argv, CommandModule } from "yargs";
import { formatAddress, tryParseAddress } from "../../ip/address.ts";
import { equalPrefix, formatPrefix } from "../../ip/prefix.ts";
import { LeaseLostError, LeaseTakenError } from "../../lease/errors.ts";
import type { Lease } from "../../lease/lease.ts";
import type { Reservation } from "../../lease/subnet-manager.ts";
import { print, printJson, printTable, readSubnet } from "./output.ts";
import { CommandError, runStoreCommand, UsageError } from "./store-command.ts";
import { withStoreOptions } from "./store-options.ts";

const SHAPE = "{subnet, publicIP}, with ipv6Subnet where one is kept too";

/** `flannel reservation …`: subnets that are kept for a host, whether it runs or not. */
export const reservationCommand: CommandModule = {
  command: "reservation",
  describe: "Keep subnets for hosts",
  builder: (yargs) =>
    yargs
      .command("ls", "List the reservations, ordered by subnet", listOptions, (args) =>
        runStoreCommand(args, async ({ withStore }) => {
          const found = await withStore(false, ({ store }, options) => store.listReservations(args.network, options));
          const rows = found.map(reservationJson);
          if (args.json) printJson(rows);
          else printReservations(rows);
        }),
      )
      .command("add <subnet> <public-ip>", "Keep a subnet for the host with this address", addOptions, (args) =>
        runStoreCommand(args, async ({ withStore }) => {
          const publicIP = tryParseAddress(args.publicIp);
          if (publicIP === undefined)
            throw new UsageError(`PUBLIC-IP: not an IP address: ${JSON.stringify(args.publicIp)}`);
          const ipv6 = args.ipv6Subnet === undefined ? {} : { ipv6Subnet: readSubnet(args.ipv6Subnet) };
          const reservation = { subnet: readSubnet(args.subnet), ...ipv6, publicIP };
          await withStore(false, async ({ store }, options) => {
            try {
              await store.addReservation(args.network, reservation, options);
            } catch (error) {
              if (!(error instanceof LeaseTakenError)) throw error;
              const leases = await store.listLeases(args.network, options);
              throw taken(error, leases);
            }
          });
          const row = reservationJson(reservation);
          if (args.json) printJson({ reserved: row });
          else print(`reserved ${[row.subnet, row.ipv6Subnet ?? []].flat().join(" and ")} for ${row.publicIP}`);
        }),
      )
      .command("rm <subnet>", "Keep a subnet no longer; its host's lease ends in 24 hours", removeOptions, (args) =>
        runStoreCommand(args, async ({ withStore }) => {
          const subnet = readSubnet(args.subnet);
          await withStore(false, async ({ store }, options) => {
            try {
              await store.removeReservation(args.network, subnet, options);
            } catch (error) {
              if (!(error instanceof LeaseLostError)) throw error;
              throw new CommandError(`${formatPrefix(subnet)} is not reserved`);
            }
          });
          if (args.json) printJson({ released: { subnet: formatPrefix(subnet) } });
          else
            print(
              `${formatPrefix(subnet)} is no longer reserved: its lease ends in 24 hours unless its host renews it`,
            );
        }),
      )
      .demandCommand(1, "say what to do with reservations")
      .strict(),
  handler: () => {},
};

function listOptions(yargs: Argv) {
  return withStoreOptions(yargs).epilogue(`--json prints an array of ${SHAPE}.`);
}

function addOptions(yargs: Argv) {
  return withStoreOptions(yargs)
    .positional("subnet", { type: "string", demandOption: true, describe: "as 10.5.34.0/24" })
    .positional("public-ip", { type: "string", demandOption: true, describe: "the host's address" })
    .option("ipv6-subnet", { type: "string", describe: "keep this one too, in a network of both families" })
    .epilogue(
      `A lease that the host holds on the subnet becomes the reservation.\n\n--json prints {reserved: ${SHAPE}}.`,
    );
}

function removeOptions(yargs: Argv) {
  return withStoreOptions(yargs)
    .positional("subnet", { type: "string", demandOption: true, describe: "as 10.5.34.0/24" })
    .epilogue("--json prints {released: {subnet}}.");
}

function taken({ subnet }: LeaseTakenError, leases: readonly Lease[]): CommandError {
  const holder = leases.find((lease) => equalPrefix(lease.subnet, subnet));
  const held = holder === undefined ? "another host" : formatAddress(holder.attributes.publicIP);
  return new CommandError(
    `${formatPrefix(subnet)} is already ${holder?.isReservation ? "reserved for" : "leased by"} ${held}`,
  );
}

/** With a column for the second family only where there is one. */
function printReservations(rows: readonly ReturnType<typeof reservationJson>[]): void {
  const isDual = rows.some((row) => row.ipv6Subnet !== undefined);
  printTable(
    ["SUBNET", ...(isDual ? ["IPV6 SUBNET"] : []), "PUBLIC IP"],
    rows.map((row) => [row.subnet, ...(isDual ? [row.ipv6Subnet ?? "-"] : []), row.publicIP]),
    "no reservations",
  );
}

function reservationJson({ subnet, ipv6Subnet, publicIP }: Reservation) {
  return {
    subnet: formatPrefix(subnet),
    ...(ipv6Subnet !== undefined && { ipv6Subnet: formatPrefix(ipv6Subnet) }),
    publicIP: formatAddress(publicIP),
  };
}
