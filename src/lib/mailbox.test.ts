import { describe, expect, test } from "vitest";
import { Mailbox } from "./mailbox.ts";

const { signal } = new AbortController();

describe("Mailbox", () => {
  test("takeAll() gives everything that has arrived, once, in order", async () => {
    const mailbox = new Mailbox<number>();
    for (const message of [1, 2, 3]) mailbox.put(message);
    expect(mailbox.size).toBe(3);
    expect(await mailbox.takeAll({ signal })).toEqual([1, 2, 3]);
    expect(mailbox.size).toBe(0);
    mailbox.put(4);
    expect(await mailbox.takeAll({ signal })).toEqual([4]);
  });

  test("takeAll() waits for the first message, and takes along what comes in the same turn", async () => {
    const mailbox = new Mailbox<string>();
    const taking = mailbox.takeAll({ signal });
    mailbox.put("a");
    mailbox.put("b");
    expect(await taking).toEqual(["a", "b"]);
  });

  test("takeAll() throws the reason when it is aborted, and loses nothing", async () => {
    const mailbox = new Mailbox<string>();
    const controller = new AbortController();
    const taking = mailbox.takeAll({ signal: controller.signal });
    const reason = new Error("stop");
    controller.abort(reason);
    await expect(taking).rejects.toBe(reason);
    mailbox.put("kept");
    await expect(mailbox.takeAll({ signal: controller.signal })).rejects.toBe(reason);
    expect(await mailbox.takeAll({ signal })).toEqual(["kept"]);
  });

  test("a long conversation loses nothing", async () => {
    const mailbox = new Mailbox<number>();
    const received: number[] = [];
    const reading = (async () => {
      while (received.length < 1000) received.push(...(await mailbox.takeAll({ signal })));
    })();
    for (let message = 0; message < 1000; message++) {
      mailbox.put(message);
      if (message % 7 === 0) await Promise.resolve();
    }
    await reading;
    expect(received).toEqual(Array.from({ length: 1000 }, (_, index) => index));
  });
});
