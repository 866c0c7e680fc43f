// Tests of every registry.
import { describe, expect, test } from "vitest";
import { ConfigNotFoundError } from "../../lease/errors.ts";
import { ConfigConflictError } from "../registry.ts";
import { CONFIG, claim, failure, type MakeTest, NETWORK } from "./registry-bench.ts";
import type { RegistryFixture } from "./registry-harness.ts";

/** Registers the tests of a registry's config. */
export function describeConfigs<Fixture extends RegistryFixture>(name: string, bench: MakeTest<Fixture>): void {
  describe(`${name}: config`, () => {
    test(
      "getConfig() throws ConfigNotFoundError naming the key if there is none",
      bench(async ({ registry, options }) => {
        const error = await failure(registry.getConfig("blue", options));
        expect(error).toBeInstanceOf(ConfigNotFoundError);
        expect((error as ConfigNotFoundError).key).toContain("blue/config");
      }),
    );

    test(
      "getConfig() gives the very text that setConfig() stored",
      bench(async ({ registry, options, second }) => {
        for (const text of [CONFIG, '{"Network":"10.6.0.0/16","Note":"a+b&c=d %20 é\u{1f9f6}\\n"}']) {
          await registry.setConfig(NETWORK, text, options);
          expect((await registry.getConfig(NETWORK, options)).text).toBe(text);
          expect((await (await second()).getConfig(NETWORK, options)).text).toBe(text);
        }
      }),
    );

    test(
      "setConfig() with an expected revision stores only over that one",
      bench(async ({ registry, options }) => {
        const set = (text: string, expected: bigint) => registry.setConfig(NETWORK, text, { ...options, expected });
        expect(await failure(set("{}", 1n))).toBeInstanceOf(ConfigConflictError);
        await set(CONFIG, 0n);
        expect(await failure(set("{}", 0n))).toBeInstanceOf(ConfigConflictError);
        const first = await registry.getConfig(NETWORK, options);
        await registry.setConfig(NETWORK, "{}", options);
        expect(await failure(set(CONFIG, first.revision))).toBeInstanceOf(ConfigConflictError);
        const second = await registry.getConfig(NETWORK, options);
        expect(second.text).toBe("{}");
        expect(second.revision).toBeGreaterThan(first.revision);
        await set(CONFIG, second.revision);
        expect((await registry.getConfig(NETWORK, options)).text).toBe(CONFIG);
      }),
    );

    test(
      "setConfig() lets one of two editors win",
      bench(async ({ registry, options, second }) => {
        const registries = [registry, await second()];
        await registry.setConfig(NETWORK, CONFIG, options);
        const { revision: expected } = await registry.getConfig(NETWORK, options);
        const results = await Promise.allSettled(
          registries.map((each, index) => each.setConfig(NETWORK, `{"editor":${index}}`, { ...options, expected })),
        );
        const lost = results.filter((result) => result.status === "rejected");
        expect(lost.map((result) => result.reason)).toEqual([expect.any(ConfigConflictError)]);
      }),
    );

    test(
      "listNetworks() lists the networks with a config and a name, and not through their leases",
      bench(async ({ registry, options }) => {
        expect((await registry.listNetworks(options)).networks).toEqual([]);
        for (const network of ["red", "", "blue", "blue-2", "blue2"])
          await registry.setConfig(network, CONFIG, options);
        for (const network of ["", "blue", "none"]) await registry.createLease(network, claim(7), options);
        const { networks, cursor } = await registry.listNetworks(options);
        expect(networks).toEqual(["blue", "blue-2", "blue2", "red"]);
        const { cursor: later } = await registry.listLeases("blue", options);
        expect(cursor.history).toBe(later.history);
        expect(later.index - cursor.index).toBeLessThanOrEqual(1n);
      }),
    );

    test(
      "setConfig() of one network leaves the others alone",
      bench(async ({ registry, options }) => {
        const networks = ["", "blue", "blue2"];
        for (const network of networks) await registry.setConfig(network, `{"of":"${network}"}`, options);
        for (const network of networks)
          expect((await registry.getConfig(network, options)).text).toBe(`{"of":"${network}"}`);
      }),
    );
  });
}
