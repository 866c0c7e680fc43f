import { describeKernel } from "../../src/kernel/kernel-conformance.ts";
import { linuxHarness } from "./linux-harness.ts";

describeKernel("LinuxKernel", linuxHarness());
describeKernel("LinuxKernel without nexthop objects", linuxHarness({ nexthops: false }));
