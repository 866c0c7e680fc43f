import { closeSync, fstatSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { describeDescriptorKeeper, type KeeperFixture } from "../../src/kernel/descriptor-keeper-conformance.ts";
import { RecordingLogger } from "../../src/lib/recording-logger.ts";
import type { InheritedDescriptor } from "../../src/operate/inherited.ts";
import { StoreKeeper } from "../../src/operate/store-keeper.ts";

/** A service manager with a store, and files that stand for sockets. */
class Manager implements KeeperFixture {
  readonly messages: string[] = [];
  readonly logger = new RecordingLogger();
  readonly #store: InheritedDescriptor[] = [];
  readonly #directory = mkdtempSync(join(tmpdir(), "flannel-store-"));
  readonly #open: number[] = [];
  #files = 0;
  /** What its socket answers. */
  failure: Error | undefined;

  readonly open = (isKeeping = true, isPromised = true) =>
    new StoreKeeper({
      socket: "/run/notify",
      prefix: "handover.",
      isPromised,
      isKeeping,
      inherited: this.#store.map(({ name, fd }) => ({ name, fd: this.duplicate(fd) })),
      send: (_path, bytes, descriptors) => this.#receive(new TextDecoder().decode(bytes), descriptors),
      duplicate: (fd) => this.duplicate(fd),
      logger: this.logger,
    });

  readonly descriptor = () => {
    const fd = openSync(join(this.#directory, String(++this.#files)), "w");
    this.#open.push(fd);
    return fd;
  };

  readonly identity = (fd: number) => fstatSync(fd).ino;

  get stored(): readonly string[] {
    return this.#store.map(({ name }) => name);
  }

  /** @param name of something that is not a daemon's */
  put(name: string): void {
    this.#store.push({ name, fd: this.descriptor() });
  }

  duplicate(fd: number): number {
    return openSync(`/proc/self/fd/${fd}`, "r");
  }

  #receive(message: string, descriptors: readonly number[] = []): void {
    if (this.failure !== undefined) throw this.failure;
    this.messages.push(message);
    const fields = new Map(message.split("\n").map((line) => line.split("=") as [string, string]));
    const name = fields.get("FDNAME") ?? "";
    if (fields.has("FDSTOREREMOVE"))
      for (const each of this.#store.filter((stored) => stored.name === name))
        this.#store.splice(this.#store.indexOf(each), 1);
    if (fields.has("FDSTORE")) for (const fd of descriptors) this.#store.push({ name, fd: this.duplicate(fd) });
  }

  [Symbol.dispose](): void {
    for (const fd of this.#open) closeSync(fd);
    rmSync(this.#directory, { recursive: true });
  }
}

function manager(): Manager {
  const manager = new Manager();
  onTestFinished(() => manager[Symbol.dispose]());
  return manager;
}

describeDescriptorKeeper("StoreKeeper", () => new Manager());

test("StoreKeeper removes a name before it stores something else under it, since removing is by name", async () => {
  const { open, descriptor, messages } = manager();
  await using keeper = open();
  await keeper.keep(new Map([["udp", descriptor()]]));
  await keeper.keep(new Map([["udp", descriptor()]]));
  const stored = "FDSTORE=1\nFDPOLL=0\nFDNAME=handover.udp";
  expect(messages).toEqual([stored, "FDSTOREREMOVE=1\nFDNAME=handover.udp", stored]);
});

test("StoreKeeper that is not to keep anything lets go of what an earlier one kept", async () => {
  const host = manager();
  await using before = host.open();
  await before.keep(new Map([["udp", host.descriptor()]]));
  await using keeper = host.open(false);
  expect((await keeper.take(["udp"])).size).toBe(1);
  await keeper.keep(new Map([["udp", host.descriptor()]]));
  expect(host.stored).toEqual([]);
});

test("StoreKeeper leaves alone what is not its own", async () => {
  const host = manager();
  host.put("flanneld.socket");
  await using keeper = host.open();
  expect(await keeper.take(["flanneld.socket", ""])).toEqual(new Map());
  await keeper.keep(new Map());
  expect(host.stored).toEqual(["flanneld.socket"]);
});

test("StoreKeeper says so, and goes on, if the service manager does not listen", async () => {
  const host = manager();
  host.failure = new Error("sendmsg: ECONNREFUSED");
  await using keeper = host.open();
  await keeper.keep(new Map([["udp", host.descriptor()]]));
  expect(host.logger.lines).toEqual([
    {
      level: "warn",
      message: "descriptors are not kept by the service manager: a restart may lose packets",
      fields: { reason: "sendmsg: ECONNREFUSED" },
    },
  ]);
});

test("StoreKeeper does not warn of a manager that takes nothing if it never said that it would", async () => {
  const manager = new Manager();
  onTestFinished(() => manager[Symbol.dispose]());
  manager.failure = new Error("sendmsg: ENOENT");
  await using keeper = manager.open(true, false);
  await keeper.keep(new Map([["udp", manager.descriptor()]]));
  expect(manager.logger.lines.map(({ level }) => level)).toEqual(["debug"]);
});
