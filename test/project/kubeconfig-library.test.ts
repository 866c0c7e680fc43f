import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const dist = (file: string) => readFileSync(join(import.meta.dirname, "../../dist", file), "utf8");
/** What the library calls itself to servers. */
const LIBRARY = "kubernetes-client-javascript";

test("the daemon has nothing of the Kubernetes library in it: a file beside it has, which only --kubeconfig-file loads", () => {
  expect(dist("kubeconfig-library.cjs")).toContain(LIBRARY);
  for (const program of ["flanneld.cjs", "flanneld-main.cjs", "flannel.cjs", "packet-thread.cjs", "flannel-cni.cjs"])
    expect(dist(program), program).not.toContain(LIBRARY);
  expect(dist("flanneld-main.cjs").split("kubeconfig-library.cjs")).toHaveLength(2); // one place, behind an import()
});
