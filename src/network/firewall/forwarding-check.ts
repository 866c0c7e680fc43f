import type { Family } from "../../ip/address.ts";
import type { Kernel } from "../../kernel/kernel.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Logger } from "../../lib/logger.ts";

/** Without it the kernel passes no packet from one link to another. */
const FORWARDING: Readonly<Record<Family, string>> = {
  4: "net/ipv4/ip_forward",
  6: "net/ipv6/conf/all/forwarding",
};

/** Says so if the host as it is set passes no packets between pods and other hosts. Container runtimes usually set it when they start. */
export async function checkForwarding(
  kernel: Pick<Kernel, "sysctlTable">,
  family: Family,
  { logger, signal }: Abortable & { readonly logger: Logger },
): Promise<void> {
  const key = FORWARDING[family];
  const [row] = await kernel.sysctlTable({ keys: [key] }).list({ signal });
  if (row?.value === "0")
    logger.warn("this host forwards no packets between its pods and other hosts", {
      sysctl: `${key.replaceAll("/", ".")} = 0`,
      remedy: `sysctl -w ${key.replaceAll("/", ".")}=1`,
    });
}
