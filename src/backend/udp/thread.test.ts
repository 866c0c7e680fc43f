import { expect, test } from "vitest";
import { parsePrefix } from "../../ip/prefix.ts";
import { createCounters } from "./counters.ts";
import { buildForwarding, type ForwardingData } from "./forwarding.ts";
import { type PacketThreadOptions, startPacketThread } from "./thread.ts";

function options(): PacketThreadOptions {
  const fixed = { port: 8285, isPlain: false, isVerbose: false, addresses: [], onNews: () => {} };
  return { ...fixed, counters: createCounters(16), forwarding: forwarding() };
}

function forwarding(): ForwardingData {
  return buildForwarding({
    networks: [parsePrefix("10.5.0.0/16")],
    ownSubnets: [parsePrefix("10.5.1.0/24")],
    ownAddresses: [],
    peers: [],
    acceptFrom: [],
  });
}

test("startPacketThread() starts a thread that ends when asked: at once, and at work", async () => {
  await using atOnce = startPacketThread(options());
  await atOnce[Symbol.asyncDispose]();
  await expect(atOnce.ended).resolves.toBeUndefined();

  await using working = startPacketThread(options());
  for (let round = 0; round < 100; round++) working.setForwarding(forwarding());
  await working[Symbol.asyncDispose]();
  await expect(working.ended).resolves.toBeUndefined();
  working.setForwarding(forwarding()); // nobody is there to hear it
});

test("startPacketThread() tells why its thread failed, and says nothing to it any more", async () => {
  await using thread = startPacketThread(options());
  thread.setForwarding({ ...forwarding(), addresses: undefined } as unknown as ForwardingData);
  thread.setForwarding({ buffers: [] } as unknown as ForwardingData);
  await expect(thread.ended).rejects.toThrow("undefined");
  thread.setTun(undefined);
  thread.setForwarding(forwarding());
});
