import { defineConfig } from "vitest/config";

const SERVERS = ["test/store/**/*.test.ts", "test/remote/**/*.test.ts", "test/kube/**/*.test.ts"];

const SYSTEM = {
  globalSetup: "scripts/build-first.mjs",
  pool: "forks",
  testTimeout: 60_000,
  hookTimeout: 120_000,
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
          testTimeout: 30_000, // properties take seconds where others load the machine
        },
      },
      {
        // What mostly waits for a server: three files at a time.
        test: {
          ...SYSTEM,
          name: "servers",
          include: SERVERS,
          maxWorkers: 3,
        },
      },
      {
        test: {
          ...SYSTEM,
          name: "system",
          include: ["test/**/*.test.ts"],
          exclude: SERVERS,
          fileParallelism: false,
        },
      },
    ],
  },
});
