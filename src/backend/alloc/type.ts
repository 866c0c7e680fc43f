import type { BackendType } from "../backend.ts";
import { allocation } from "./backend.ts";
import { type AllocOptions, parseAllocOptions } from "./options.ts";

export const alloc: BackendType<AllocOptions> = {
  families: [4, 6],
  parseOptions: parseAllocOptions,
  prepare: async ({ external }) => ({
    attributes: () => ({ publicIP: external.publicIP }),
    open: (lease) => allocation(lease, external),
  }),
};
