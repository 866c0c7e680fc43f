import { expect, test } from "vitest";
import { parseLabName } from "./address-plan.ts";
import { findLab, findLog, findPlace, labsToRemove } from "./lookup.ts";
import type { LabRecord } from "./record.ts";

function lab(name: string, more: Partial<LabRecord> = {}): LabRecord {
  return {
    name: parseLabName(name),
    created: "2026-01-01T00:00:00.000Z",
    network: "10.5.0.0/16",
    backend: "vxlan",
    store: "embedded",
    hosts: [
      {
        name: "h1",
        address: "192.168.77.1",
        namespace: `fl-${name}-h1`,
        log: "/run/flannel-lab/x/h1/flanneld.log",
        pods: [{ name: "p1", address: "10.5.1.2", namespace: `fl-${name}-h1-p1` }],
      },
    ],
    ...more,
  };
}

const held = lab("held", { owner: { pid: 7, startTime: "7" } });

test("findLab() without a name is the only one", () => {
  expect(findLab(undefined, [held]).name).toBe("held");
});

test("findLab() without a name prefers the one left running to those that a process holds", () => {
  expect(findLab(undefined, [held, lab("mine")]).name).toBe("mine");
});

test.each([
  [undefined, [], "name: no lab is up; `flannel lab up` makes one"],
  [undefined, [lab("a"), lab("b")], "name: say which one; there are a, b"],
  ["c", [lab("a")], "name: there is no lab c; there is a"],
])("findLab(%j) says what there is", (name, labs, message) => {
  expect(() => findLab(name, labs)).toThrow(message);
});

test("labsToRemove() leaves a lab to the process that holds it, even if all are meant", () => {
  expect([labsToRemove(false, [held]), labsToRemove(true, [held, lab("mine")])]).toEqual([[], ["mine"]]);
});

test("labsToRemove() does not choose among several", () => {
  expect(() => labsToRemove(false, [lab("a"), lab("b")])).toThrow("say which one");
  expect(labsToRemove(true, [lab("a"), lab("b")])).toEqual(["a", "b"]);
});

test("findPlace() is a host, or a pod on one", () => {
  expect(findPlace(lab("a"), "h1").namespace).toBe("fl-a-h1");
  expect(findPlace(lab("a"), "h1/p1").namespace).toBe("fl-a-h1-p1");
});

test.each(["h2", "h1/p2", "", "/p1"])("findPlace(%j) says which places there are", (title) => {
  expect(() => findPlace(lab("a"), title)).toThrow(`host: there is no ${title} in lab a, but h1, h1/p1`);
});

test("findLog() is that of a host's daemon, or of etcd if there is one", () => {
  expect(findLog(lab("a"), "h1")).toBe("/run/flannel-lab/x/h1/flanneld.log");
  expect(findLog(lab("a", { store: "etcd3" }), "etcd")).toBe("/run/flannel-lab/a/etcd.log");
  expect(() => findLog(lab("a"), "etcd")).toThrow("there is no etcd");
  expect(() => findLog(lab("a"), "h1/p1")).toThrow("h1/p1 is a pod");
});
