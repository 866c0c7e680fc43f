// A flannel server before a cluster: `flanneld --kube-subnet-mgr --listen`.
import { type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { NotifySocket } from "../../src/lab/notify-socket.ts";
import { flanneld, start, temporaryDirectory } from "../cli/program.ts";
import { ask } from "../remote/raw-http.ts";
import { freePort } from "../support/free-port.ts";
import { annotations } from "./annotations.ts";
import { CONFIG, signal } from "./bench.ts";
import { FakeApiServer } from "./fake-api-server.ts";
import { kubeconfigText } from "./kubeconfig.ts";
import { admitFlannel, TOKEN } from "./manager.ts";

async function ended(child: ChildProcess): Promise<void> {
  child.kill("SIGKILL");
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

test("flanneld --listen shows a cluster's nodes to hosts outside, and gives nothing away", async () => {
  using directory = temporaryDirectory();
  await using cleanup = new AsyncDisposableStack();
  const api = cleanup.use(await FakeApiServer.start());
  admitFlannel(api);
  api.addNode("b", ["10.5.2.0/24"]);
  api.annotate("b", annotations("192.0.2.2"));
  const path = (name: string) => join(directory.path, name);
  writeFileSync(path("kubeconfig"), kubeconfigText(api.url, { token: TOKEN }));
  writeFileSync(path("net-conf.json"), CONFIG);
  const port = await freePort();
  using notify = new NotifySocket(path("notify"));
  const args = [
    "--kube-subnet-mgr",
    `--kubeconfig-file=${path("kubeconfig")}`,
    `--net-config-path=${path("net-conf.json")}`,
    `--state-dir=${path("state")}`,
    `--listen=127.0.0.1:${port}`,
  ];
  const server = start(flanneld, args, { env: { NOTIFY_SOCKET: notify.path, PATH: process.env["PATH"] ?? "" } });
  cleanup.defer(() => ended(server));
  await notify.ready({ signal });

  expect(await ask(port, "GET", "/v1/_/config")).toMatchObject({ status: 200 });
  expect(await ask(port, "GET", "/v1/blue/config")).toMatchObject({ status: 500 });
  const { body } = await ask(port, "GET", "/v1/_/leases");
  const { snapshot, cursor } = JSON.parse(body) as { readonly snapshot: readonly object[]; readonly cursor: string };
  expect(snapshot).toMatchObject([{ Subnet: "10.5.2.0/24", Attrs: { PublicIP: "192.0.2.2", BackendType: "vxlan" } }]);
  expect(await ask(port, "GET", "/v1/_/leases/10.5.2.0-24")).toMatchObject({ status: 200 });

  const polled = ask(port, "GET", `/v1/_/leases?next=${cursor}`);
  api.addNode("c", ["10.5.3.0/24"]);
  api.annotate("c", annotations("192.0.2.3"));
  const { events } = JSON.parse((await polled).body) as { readonly events: readonly object[] };
  expect(events).toMatchObject([{ type: "added", lease: { Subnet: "10.5.3.0/24" } }]);

  const attributes = JSON.stringify({ PublicIP: "192.0.2.9" });
  const lease = JSON.stringify({ Subnet: "10.5.2.0/24", Attrs: { PublicIP: "192.0.2.2" } });
  const reservation = JSON.stringify({ Subnet: "10.5.77.0/24", PublicIP: "192.0.2.77" });
  for (const [method, path, text] of [
    ["GET", "reservations", undefined],
    ["POST", "reservations", reservation],
    ["DELETE", "reservations/10.5.2.0-24", undefined],
    ["POST", "leases", attributes],
    ["PUT", "leases/10.5.2.0-24", lease],
    ["DELETE", "leases/10.5.2.0-24", undefined],
  ] as const)
    expect(await ask(port, method, `/v1/_/${path}`, text === undefined ? {} : { body: text })).toMatchObject({
      status: 500,
      body: "unimplemented",
    });
  expect(api.calls.filter(({ verb }) => verb === "patch")).toEqual([]);
});
