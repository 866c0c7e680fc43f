import { describeDescriptorKeeper } from "./descriptor-keeper-conformance.ts";
import { FakeDescriptorKeeper } from "./fake-descriptor-keeper.ts";

describeDescriptorKeeper("FakeDescriptorKeeper", () => {
  const keeper = new FakeDescriptorKeeper();
  let last = 100;
  return {
    open: () => keeper,
    descriptor: () => ++last,
    identity: (fd) => fd,
    [Symbol.dispose]() {},
  };
});
