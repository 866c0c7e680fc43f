/** A room, or with a file name one file of it: its port, which says what is there without doing it. */
export type RoomEntry = string;

/**
 * Who may import whom, `import type` included: each folder of src/ with the rooms it may import, besides itself.
 * The same table with the reasons is in ARCHITECTURE.md.
 */
export const ROOMS: Readonly<Record<string, readonly RoomEntry[] | "all">> = {
  lib: [],
  ip: ["lib"],
  wire: ["lib", "ip"],
  lease: ["lib", "ip"],
  dataplane: ["lib"],
  kernel: ["lib", "ip", "wire", "dataplane/table.ts"],
  store: ["lib", "ip", "lease"],
  remote: ["lib", "ip", "lease"],
  backend: [
    "lib",
    "ip",
    "wire",
    "lease",
    "dataplane",
    "kernel/kernel.ts",
    "kernel/descriptor-keeper.ts",
    "kernel/packet-ports.ts",
    "kernel/message-batch.ts",
    "kernel/scatter-list.ts",
    "kernel/errno.ts",
    "cloud/cloud.ts",
  ],
  cloud: ["lib", "ip", "dataplane"],
  operate: ["lib", "ip", "lease", "dataplane", "kernel/descriptor-keeper.ts", "kernel/process-id.ts"],
  cni: ["lib", "ip"],
  network: ["lib", "ip", "wire", "lease", "dataplane", "kernel", "backend", "cloud", "operate"],
  cli: "all",
  lab: "all",
};

/** Where a thread begins: what is put together there is named there, as in `cli` for the program. */
export const THREAD_ENTRIES: readonly string[] = ["backend/udp/packet-thread.ts"];

/** Rooms that compute and never reach out: no module of Node's, tests aside. */
export const PURE_ROOMS: readonly string[] = ["ip", "wire", "dataplane"];

/** Packages that only some rooms may use, since what they do has one door. */
export const PACKAGE_ROOMS: Readonly<Record<string, readonly string[]>> = {
  "@kubernetes/client-node": ["store"],
  koffi: ["kernel", "lab", "operate"],
  pino: ["cli"],
  yargs: ["cli", "lab"],
};
