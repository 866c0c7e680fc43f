import { defineConfig } from "vitest/config";

/** They mostly wait, for servers and other programs, and measure nothing. */
const FOLDERS = [
  "store",
  "remote",
  "kube",
  "cloud",
  "cni",
  "firewall",
  "host",
  "kernel",
  "lab",
  "packet",
  "project",
  "wire",
];
const FILES = [
  "cli/administration",
  "e2e/bad-input",
  "e2e/networks",
  "e2e/networks-etcd",
  "e2e/server-mishaps",
  "operate/systemd",
];
const PATIENT = [
  ...FOLDERS.map((folder) => `test/${folder}/**/*.test.ts`),
  ...FILES.map((file) => `test/${file}.test.ts`),
];
/** Builds for minutes, and asks Debian's registry: by itself, `npm run test:release`. */
const RELEASE = ["test/release/**/*.test.ts"];

const SYSTEM = {
  globalSetup: "scripts/build-first.mjs",
  pool: "forks",
  testTimeout: 180_000, // three times what the longest takes; deadlines of the specification are told to what waits for them
  hookTimeout: 180_000,
  expect: { poll: { timeout: 20_000 } },
} as const;

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["src/**/*.test.ts", "scripts/**/*.test.ts"],
          pool: "threads",
          isolate: false,
          testTimeout: 120_000, // properties take ten seconds where others load the machine
        },
      },
      {
        test: {
          ...SYSTEM,
          name: "patient",
          include: PATIENT,
          maxWorkers: 3,
        },
      },
      {
        test: {
          ...SYSTEM,
          name: "system",
          include: ["test/**/*.test.ts"],
          exclude: [...PATIENT, ...RELEASE],
          fileParallelism: false,
        },
      },
      {
        test: {
          ...SYSTEM,
          name: "release",
          include: RELEASE,
          testTimeout: 300_000, // one of them packs a release
          fileParallelism: false,
        },
      },
    ],
  },
});
