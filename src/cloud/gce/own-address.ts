import { type Address, equalAddress, formatAddress } from "../../ip/address.ts";
import { CloudError } from "../cloud-error.ts";
import type { GceInstance } from "./metadata.ts";

/** @throws {CloudError} if the interface does not have the address besides the one that it was found by, saying what is to be done */
export function requireAddress(address: Address, { addresses, name, zone, network }: GceInstance): void {
  if (addresses.some((own) => equalAddress(own, address))) return;
  const named = formatAddress(address);
  if (!addresses.some(({ family }) => family === 6))
    throw new CloudError(
      "gone",
      `the interface of instance ${name} has no IPv6 address in ${network}, which so carries nothing to ${named}; its subnetwork and the interface must be of both families (gcloud compute networks subnets update SUBNET --region REGION --stack-type IPV4_IPV6 --ipv6-access-type INTERNAL; gcloud compute instances network-interfaces update ${name} --zone ${zone} --stack-type IPV4_IPV6)`,
    );
  throw new CloudError(
    "gone",
    `the interface of instance ${name} does not have the address ${named}; it has ${addresses.map(formatAddress).join(", ")} (--iface or --public-ipv6 says which to use)`,
  );
}
