import { expect, test } from "vitest";
import { FakeKernel } from "../../kernel/fake-kernel.ts";
import { FakeClock } from "../../lib/fake-clock.ts";
import { RecordingLogger } from "../../lib/recording-logger.ts";
import { hostSettings } from "./needs.ts";
import { SettingsTable } from "./settings-table.ts";
import { watchSettings } from "./watch-settings.ts";

test("watchSettings() names what does not suffice: at once, or when a container runtime had its minute; again if it comes back", async () => {
  const kernel = new FakeKernel();
  const clock = new FakeClock();
  const logger = new RecordingLogger();
  const end = new AbortController();
  kernel.setLink({ name: "eth0" });
  kernel.setSysctl("net/ipv4/ip_forward", "0");
  kernel.setSysctl("net/ipv4/conf/eth0/rp_filter", "1");
  const settings = hostSettings({
    families: [4],
    underlay: "eth0",
    devices: ["flannel.1"],
    hasServices: false,
    routed: [],
  });
  const table = new SettingsTable(settings, { kernel, record: undefined, logger });
  const said = () => logger.lines.map(({ message, fields }) => [message, fields["sysctl"], fields["remedy"]]);
  const watching = watchSettings({ settings, table, clock, logger, signal: end.signal });
  await clock.advance(1_000);
  const strict = [
    "this host drops packets between pods and other hosts' own addresses",
    "net.ipv4.conf.eth0.rp_filter = 1",
    "--configure-host, or sysctl -w net.ipv4.conf.eth0.rp_filter=2",
  ];
  expect(said()).toEqual([strict]);
  await clock.advance(60_000);
  const closed = [
    "this host forwards no packets between its pods and other hosts",
    "net.ipv4.ip_forward = 0",
    "--configure-host, or sysctl -w net.ipv4.ip_forward=1",
  ];
  expect(said()).toEqual([strict, closed]);
  kernel.setSysctl("net/ipv4/ip_forward", "1");
  await clock.advance(61_000);
  kernel.setSysctl("net/ipv4/ip_forward", "0");
  await clock.advance(61_000);
  expect(said()).toEqual([strict, closed, closed]);
  end.abort();
  await expect(watching).rejects.toThrow("abort");
});
