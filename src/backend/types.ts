import { InvalidConfigError } from "../lib/errors.ts";
import { alloc } from "./alloc/type.ts";
import { awsVpc } from "./aws-vpc/type.ts";
import type { BackendType } from "./backend.ts";
import { gce } from "./gce/type.ts";
import { hostGw } from "./host-gw/type.ts";
import { udp } from "./udp/type.ts";
import { vxlan } from "./vxlan/type.ts";

/** Every backend there is. Adding one is a folder and a line here. */
const BACKEND_TYPES: Readonly<Record<string, BackendType<unknown>>> = {
  alloc,
  "aws-vpc": awsVpc,
  gce,
  "host-gw": hostGw,
  udp,
  vxlan,
};

/** @throws {InvalidConfigError} if there is none of that name */
export function backendType(type: string): BackendType<unknown> {
  const found = Object.hasOwn(BACKEND_TYPES, type) ? BACKEND_TYPES[type] : undefined;
  if (found !== undefined) return found;
  const known = Object.keys(BACKEND_TYPES).join(", ");
  throw new InvalidConfigError("Backend.Type", `backend ${JSON.stringify(type)} is unknown; there are ${known}`);
}
