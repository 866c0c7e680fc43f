import { expect, test } from "vitest";
import { parseAddress } from "../ip/address.ts";
import { parsePrefix } from "../ip/prefix.ts";
import { FakeKernel } from "../kernel/fake-kernel.ts";
import { parseNetworkConfig } from "../lease/network-config.ts";
import { FakeClock } from "../lib/fake-clock.ts";
import { RecordingLogger } from "../lib/recording-logger.ts";
import { watchOverlap } from "./watch-overlap.ts";

test("watchOverlap() names a VPN's route that comes while flannel works, within a minute and once", async () => {
  const kernel = new FakeKernel();
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const end = new AbortController();
  kernel.setLink({ name: "tun7" });
  const config = parseNetworkConfig('{"Network": "10.5.0.0/16"}');
  const watching = watchOverlap({ kernel, config, underlay: "eth0", clock, logger, signal: end.signal });
  await clock.advance(1_000);
  expect(logger.lines).toEqual([]);
  const destination = parsePrefix("10.5.77.0/24");
  kernel.setRoute({ destination, link: "tun7", gateway: parseAddress("10.99.0.1"), protocol: 4 });
  await clock.advance(60_000);
  await clock.advance(60_000);
  expect(logger.lines.map(({ level, fields }) => [level, fields["reason"]])).toEqual([
    ["warn", expect.stringContaining("10.5.77.0/24 via 10.99.0.1 dev tun7 proto static")],
  ]);
  end.abort();
  await expect(watching).rejects.toThrow("abort");
});
