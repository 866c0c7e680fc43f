import { expect, test } from "vitest";
import { FakeKernel } from "../../kernel/fake-kernel.ts";
import { RecordingLogger } from "../../lib/recording-logger.ts";
import { checkForwarding } from "./forwarding-check.ts";

const { signal } = new AbortController();

test.each([
  ["0", ["this host forwards no packets between its pods and other hosts"]],
  ["1", []],
  [undefined, []],
])("checkForwarding() where ip_forward is %s says %j", async (value, said) => {
  const kernel = new FakeKernel();
  const logger = new RecordingLogger();
  if (value !== undefined) kernel.setSysctl("net/ipv4/ip_forward", value);
  await checkForwarding(kernel, 4, { logger, signal });
  expect(logger.messages("warn")).toEqual(said);
});
