import { expect, test } from "vitest";
import { annotationKeys } from "./annotation-keys.ts";

test.each([
  ["flannel.alpha.coreos.com", "flannel.alpha.coreos.com/backend-type"],
  ["flannel.alpha.coreos.com/", "flannel.alpha.coreos.com/backend-type"],
  ["flannel.alpha.coreos.com/blue", "flannel.alpha.coreos.com/blue-backend-type"],
  ["flannel.alpha.coreos.com/blue-", "flannel.alpha.coreos.com/blue-backend-type"],
  ["org9.com/9", "org9.com/9-backend-type"],
])("annotationKeys() reads the prefix %s as later releases do", (prefix, key) => {
  expect(annotationKeys(prefix).backendType).toBe(key);
});

test.each(["", "org", "org/", "org/blue", "org.COM", "org.com/BLUE", "a.b/c/d", "a..b", "a.b/c d"])(
  "annotationKeys() refuses the prefix %j",
  (prefix) => {
    expect(() => annotationKeys(prefix)).toThrow("--kube-annotation-prefix: must be a domain in lower case");
  },
);
