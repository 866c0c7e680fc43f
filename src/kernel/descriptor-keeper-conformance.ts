// For tests only.
import { describe, expect, onTestFinished, test } from "vitest";
import type { DescriptorKeeper } from "./descriptor-keeper.ts";

/** One host for one test, on which daemons follow each other. */
export interface KeeperFixture extends Disposable {
  /** The next daemon's. The test disposes it, as a daemon does that ends. */
  readonly open: () => DescriptorKeeper;
  /** Of something new. */
  readonly descriptor: () => number;
  /** Tells what a descriptor is of; the same for two of the same. */
  readonly identity: (fd: number) => unknown;
}

const { signal } = new AbortController();

/** What every DescriptorKeeper must do. @param openHost a host on which nothing has been kept */
export function describeDescriptorKeeper(title: string, openHost: () => KeeperFixture): void {
  function host(): KeeperFixture {
    const fixture = openHost();
    onTestFinished(() => fixture[Symbol.dispose]());
    return fixture;
  }

  describe(`${title} as a DescriptorKeeper`, () => {
    test("take() gives nothing if nothing was kept", async () => {
      await using keeper = host().open();
      expect(await keeper.take(["tun", "udp"], { signal })).toEqual(new Map());
    });

    test("take() gives the next daemon what was kept, by name, and nothing else", async () => {
      const { open, descriptor, identity } = host();
      const descriptors = new Map([
        ["tun", descriptor()],
        ["udp", descriptor()],
        ["other", descriptor()],
      ]);
      {
        await using keeper = open();
        await keeper.keep(descriptors, { signal });
      }
      await using keeper = open();
      const taken = await keeper.take(["udp", "tun", "never"], { signal });
      expect([...taken.keys()].toSorted()).toEqual(["tun", "udp"]);
      for (const [name, fd] of taken) expect(identity(fd)).toEqual(identity(descriptors.get(name) ?? -1));
    });

    test("take() gives a daemon that begins anew what it has kept itself", async () => {
      const { open, descriptor, identity } = host();
      await using keeper = open();
      const fd = descriptor();
      await keeper.keep(new Map([["udp", fd]]), { signal });
      const taken = await keeper.take(["udp"], { signal });
      expect(identity(taken.get("udp") ?? -1)).toEqual(identity(fd));
    });

    test("take() takes nothing away: what is taken stays kept until keep() says otherwise", async () => {
      const { open, descriptor } = host();
      {
        await using keeper = open();
        await keeper.keep(new Map([["udp", descriptor()]]), { signal });
      }
      {
        await using keeper = open();
        expect((await keeper.take(["udp"], { signal })).size).toBe(1);
      }
      await using keeper = open();
      expect((await keeper.take(["udp"], { signal })).size).toBe(1);
    });

    test("keep() replaces what was kept before, by this daemon or by another", async () => {
      const { open, descriptor, identity } = host();
      const last = descriptor();
      {
        await using keeper = open();
        await keeper.keep(new Map([["udp", descriptor()], ["tun", descriptor()]]), { signal }); // biome-ignore format: one line
      }
      {
        await using keeper = open();
        await keeper.keep(new Map([["udp", descriptor()]]), { signal });
        await keeper.keep(new Map([["udp", last]]), { signal });
      }
      await using keeper = open();
      const taken = await keeper.take(["udp", "tun"], { signal });
      expect([...taken.keys()]).toEqual(["udp"]);
      expect(identity(taken.get("udp") ?? -1)).toEqual(identity(last));
    });

    test("keep() of nothing lets go", async () => {
      const { open, descriptor } = host();
      {
        await using keeper = open();
        await keeper.keep(new Map([["udp", descriptor()]]), { signal });
      }
      {
        await using keeper = open();
        await keeper.keep(new Map(), { signal });
      }
      await using keeper = open();
      expect(await keeper.take(["udp"], { signal })).toEqual(new Map());
    });
  });
}
