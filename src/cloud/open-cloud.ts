import type { Cloud } from "./cloud.ts";
import type { CloudParts } from "./cloud-parts.ts";

/** Every cloud there is. Their libraries take 20 MiB and a third of a second: each is loaded only by a network that needs it. */
export function openCloud(parts: CloudParts): Cloud {
  return {
    async openVpc(request, options) {
      const { openVpc } = await import("./aws/open.ts");
      return await openVpc(request, parts, options);
    },
    async openComputeEngine(request, options) {
      const { openComputeEngine } = await import("./gce/open.ts");
      return await openComputeEngine(request, parts, options);
    },
  };
}
