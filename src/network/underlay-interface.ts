import type { ExternalInterface } from "../backend/backend.ts";
import { equalAddress, type Family, formatAddress } from "../ip/address.ts";
import { InvalidConfigError } from "../lib/errors.ts";

/** The link to the other hosts: by its IPv4 address, or its IPv6 address where it has no other. */
export interface UnderlayInterface extends ExternalInterface {
  /** Its IPv6 address besides an IPv4 one, and the one that others reach it by. */
  readonly ipv6?: Pick<ExternalInterface, "address" | "publicIP"> | undefined;
}

/** @throws {InvalidConfigError} if it has no address of this family */
export function externalOf(underlay: UnderlayInterface, family: Family): ExternalInterface {
  const external = addressIn(underlay, family);
  if (external !== undefined) return external;
  throw new InvalidConfigError(
    family === 4 ? "Network" : "IPv6Network",
    `interface ${underlay.link.name} has no IPv${family} address that other hosts could reach it by, only ${formatAddress(underlay.address)}`,
  );
}

function addressIn(
  { link, address, publicIP, ipv6 }: UnderlayInterface,
  family: Family,
): ExternalInterface | undefined {
  if (address.family === family) return { link, address, publicIP };
  return ipv6?.address.family === family ? { link, ...ipv6 } : undefined;
}

/** As far as anything depends on it. @param families those that matter */
export function sameUnderlay(
  a: UnderlayInterface,
  b: UnderlayInterface,
  families: readonly Family[] = [4, 6],
): boolean {
  if (a.link.name !== b.link.name || a.link.index !== b.link.index || a.link.mtu !== b.link.mtu) return false;
  return families.every((family) => {
    const [one, other] = [addressIn(a, family), addressIn(b, family)];
    if (one === undefined || other === undefined) return one === other;
    return equalAddress(one.address, other.address) && equalAddress(one.publicIP, other.publicIP);
  });
}
