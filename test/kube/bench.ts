import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseAddress } from "../../src/ip/address.ts";
import { formatPrefix } from "../../src/ip/prefix.ts";
import type { Lease, LeaseAttributes, LeaseUpdate } from "../../src/lease/lease.ts";
import { parseNetworkConfig } from "../../src/lease/network-config.ts";
import { RecordingLogger } from "../../src/lib/recording-logger.ts";
import { Follower } from "../../src/store/conformance/follower.ts";
import { PATIENCE } from "../../src/store/conformance/registry-bench.ts";
import { standing } from "../../src/store/conformance/subnet-manager-bench.ts";
import type { KubeSubnetManager } from "../../src/store/kube/kube-subnet-manager.ts";
import { annotations } from "./annotations.ts";
import { FakeApiServer } from "./fake-api-server.ts";
import { admitFlannel, type ManagerOptions, managerOf } from "./manager.ts";

export const { signal } = new AbortController();
export const CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}';

export const VXLAN: LeaseAttributes = {
  publicIP: parseAddress("192.0.2.1"),
  backendType: "vxlan",
  backendData: { VNI: 1, VtepMAC: "0a:00:00:00:00:01" },
};

/** What a test of the manager works with: a fake API server, and node `a` with 10.5.1.0/24. */
export class KubeBench implements AsyncDisposable {
  readonly api: FakeApiServer;
  readonly logger = new RecordingLogger();
  readonly #cleanup = new AsyncDisposableStack();
  readonly #netConfig: string;

  /** @param rights of flannel's service account; all that it may need if left out */
  static async open(rights?: readonly object[]): Promise<KubeBench> {
    const api = await FakeApiServer.start({ bookmarkEvery: 100 });
    admitFlannel(api, rights);
    api.addNode("a", ["10.5.1.0/24"]);
    return new KubeBench(api);
  }

  private constructor(api: FakeApiServer) {
    this.api = this.#cleanup.use(api);
    const directory = mkdtempSync(join(tmpdir(), "kube-bench-"));
    this.#cleanup.defer(() => rmSync(directory, { recursive: true }));
    this.#netConfig = join(directory, "net-conf.json");
    writeFileSync(this.#netConfig, CONFIG);
  }

  /** A manager of node `a`. */
  manager(options: ManagerOptions = {}): KubeSubnetManager {
    const { logger } = this;
    return this.#cleanup.use(managerOf(this.api, { node: "a", netConfigPath: this.#netConfig, logger, ...options }));
  }

  /** A node whose flannel runs. */
  addPeer(name: string, subnet: string, publicIP: string): void {
    this.api.addNode(name, [subnet]);
    this.api.annotate(name, annotations(publicIP));
  }

  take(manager: KubeSubnetManager, attributes = VXLAN, config = CONFIG): Promise<Lease> {
    const { publicIP, publicIPv6 } = attributes;
    const request = {
      publicIP,
      publicIPv6,
      config: parseNetworkConfig(config),
      attributes: () => attributes,
      previous: [],
    };
    return manager.acquireLease("", request, { signal });
  }

  follow(manager: KubeSubnetManager): Follower<LeaseUpdate> {
    return this.#cleanup.use(new Follower((signal) => manager.watchLeases("", { signal }), PATIENCE));
  }

  calls(verb: string): FakeApiServer["calls"] {
    return this.api.calls.filter((call) => call.verb === verb);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cleanup[Symbol.asyncDispose]();
  }
}

/** Waits until exactly these leases stand: `10.5.2.0/24 192.0.2.2`. @returns all updates so far */
export async function untilStanding(
  watch: Follower<LeaseUpdate>,
  ...leases: readonly string[]
): Promise<readonly LeaseUpdate[]> {
  const wanted = leases.toSorted().join();
  try {
    return await watch.until((updates) => standing(updates).join() === wanted);
  } catch (error) {
    throw new Error(`standing: ${standing(watch.batches).join()}, not ${wanted}`, { cause: error });
  }
}

/** The subnets that an update removes. */
export function removedBy(updates: readonly LeaseUpdate[]): readonly string[] {
  return updates.flatMap((update) =>
    update.type === "events"
      ? update.events.flatMap((event) => (event.type === "removed" ? [formatPrefix(event.subnet)] : []))
      : [],
  );
}
