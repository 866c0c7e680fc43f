import { type Address, equalAddress, formatAddress } from "../../ip/address.ts";
import { CloudError } from "../cloud-error.ts";
import type { Ec2Instance } from "./metadata.ts";

/** @throws {CloudError} if the interface does not have the address besides the one that it was found by, saying what is to be done */
export function requireAddress(address: Address, self: Ec2Instance): void {
  const { addresses, ranges, networkInterface, subnet, vpc } = self;
  if (addresses.some((own) => equalAddress(own, address))) return;
  const assign = `aws ec2 assign-ipv6-addresses --network-interface-id ${networkInterface} --ipv6-address-count 1`;
  const named = formatAddress(address);
  if (!ranges.some((range) => isIPv6(range.address)))
    throw new CloudError(
      "gone",
      `${vpc} has no IPv6 range, so that it carries nothing to ${named}; one is needed for the VPC, one of it for ${subnet}, and an address for the interface (aws ec2 associate-vpc-cidr-block --vpc-id ${vpc} --amazon-provided-ipv6-cidr-block; aws ec2 associate-subnet-cidr-block --subnet-id ${subnet} --ipv6-cidr-block …; ${assign})`,
    );
  if (!addresses.some(isIPv6))
    throw new CloudError("gone", `${networkInterface} has no IPv6 address in ${vpc}, also not ${named} (${assign})`);
  throw new CloudError(
    "gone",
    `${networkInterface} does not have the address ${named} in ${vpc}; it has ${addresses.map(formatAddress).join(", ")} (--iface or --public-ipv6 says which to use)`,
  );
}

function isIPv6({ family }: Address): boolean {
  return family === 6;
}
