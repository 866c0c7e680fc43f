// What every subnet manager promises, of the one over Kubernetes nodes; subnets there are the cluster's to choose.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { formatPrefix, type Prefix } from "../../src/ip/prefix.ts";
import type { SubnetManagerFixture } from "../../src/store/conformance/subnet-manager-harness.ts";
import { describeSubnetManager } from "../../src/store/subnet-manager-conformance.ts";
import { FakeApiServer } from "./fake-api-server.ts";
import { admitFlannel, managerOf } from "./manager.ts";

interface Fixture extends SubnetManagerFixture {
  readonly api: FakeApiServer;
}

let subnets = 0;
const addNode = (api: FakeApiServer, name: string) => void api.addNode(name, [`10.5.${++subnets % 256}.0/24`]);

/** As a kubelet does that registers anew: the node gets another podCIDR, and nothing is annotated. */
function reregister(api: FakeApiServer, subnet: Prefix): void {
  const cidr = formatPrefix(subnet);
  const name = ["first", "second"].find((each) => JSON.stringify(api.node(each)?.["spec"]).includes(`"${cidr}"`));
  if (name === undefined) throw new Error(`no node has ${cidr}`);
  api.removeNode(name);
  addNode(api, name);
}

describeSubnetManager<Fixture>("Kubernetes", {
  choosesSubnets: false,
  async open({ logger }) {
    const directory = mkdtempSync(join(tmpdir(), "kube-manager-"));
    const netConfigPath = join(directory, "net-conf.json");
    const api = await FakeApiServer.start({ bookmarkEvery: 200 });
    admitFlannel(api);
    addNode(api, "first");
    addNode(api, "second");
    const manager = managerOf(api, { node: "first", netConfigPath, logger });
    return {
      api,
      manager,
      network: "",
      openSecond: async () => managerOf(api, { node: "second", netConfigPath }),
      setConfig: async (text) => writeFileSync(netConfigPath, text),
      async [Symbol.asyncDispose]() {
        await manager[Symbol.asyncDispose]();
        await api[Symbol.asyncDispose]();
        rmSync(directory, { recursive: true });
      },
    };
  },
  removeLease: async ({ api }, subnet) => reregister(api, subnet),
  forgetHistory: async ({ api }) => api.store.compact(),
  async stop({ api }) {
    await api.stop();
    return () => api.resume();
  },
});
