import { describe, expect, test } from "vitest";
import { InvalidConfigError } from "../../lib/errors.ts";
import { type EtcdFlags, parseEtcdOptions } from "./options.ts";

const parse = (flags: Partial<EtcdFlags>) =>
  parseEtcdOptions({ endpoints: "http://127.0.0.1:2379", prefix: "/coreos.com/network", ...flags });

function failure(flags: Partial<EtcdFlags>): InvalidConfigError {
  try {
    parse(flags);
  } catch (error) {
    if (error instanceof InvalidConfigError) return error;
    throw error;
  }
  return expect.unreachable("it was accepted");
}

describe("parseEtcdOptions()", () => {
  test.each([
    ["http://127.0.0.1:4001,http://127.0.0.1:2379", ["http://127.0.0.1:4001", "http://127.0.0.1:2379"]],
    [
      " https://etcd.example:2379/ , http://[2001:db8::1]:2379,",
      ["https://etcd.example:2379", "http://[2001:db8::1]:2379"],
    ],
    ["http://a:2379,HTTP://A:2379", ["http://a:2379"]],
  ])("reads the endpoints %j", (endpoints, expected) => {
    expect(parse({ endpoints }).endpoints).toEqual(expected);
  });

  test.each([
    ["", "names no endpoint"],
    [" , ", "names no endpoint"],
    ["127.0.0.1:2379", '"127.0.0.1:2379" must begin with http:// or https://'],
    ["unix:///run/etcd", "must begin with http:// or https://"],
    ["http://a:2379/path", '"http://a:2379/path" must end after the port'],
    ["http://a:2379?x=1", "must end after the port"],
    ["http://a:99999", "is not a URL"],
    ["http://", "is not a URL"],
    ["http://root:secret@a:2379", "use --etcd-username"],
  ])("refuses the endpoints %j", (endpoints, reason) => {
    const error = failure({ endpoints });
    expect(error.path).toBe("--etcd-endpoints");
    expect(error.message).toContain(reason);
    expect(error.message).not.toContain("secret");
  });

  test.each([
    ["/coreos.com/network", "/coreos.com/network"],
    ["coreos.com//network/", "coreos.com/network"],
    ["/a/./b/../../c", "/c"],
    ["/../..", "/"],
    ["", "/"],
  ])("cleans the prefix %j as Go's path.Join does", (prefix, expected) => {
    expect(parse({ prefix }).prefix).toBe(expected);
  });

  test("takes a CA alone, and a certificate only with its key", () => {
    expect(parse({ caFile: "ca.pem" }).files).toEqual({ ca: "ca.pem" });
    expect(parse({ certFile: "c.pem", keyFile: "k.pem" }).files).toEqual({
      certificate: { cert: "c.pem", key: "k.pem" },
    });
    expect(parse({ caFile: "", certFile: "", keyFile: "" }).files).toEqual({});
    expect(failure({ certFile: "c.pem" }).path).toBe("--etcd-keyfile");
    expect(failure({ keyFile: "k.pem" }).path).toBe("--etcd-certfile");
  });

  test("takes a user with or without a password, but no password without a user", () => {
    expect(parse({}).credentials).toBeUndefined();
    expect(parse({ username: "flannel", password: "p:w" }).credentials).toEqual({
      username: "flannel",
      password: "p:w",
    });
    expect(parse({ username: "flannel", password: "" }).credentials).toEqual({ username: "flannel", password: "" });
    expect(failure({ password: "secret" }).path).toBe("--etcd-username");
    expect(failure({ password: "secret" }).message).not.toContain("secret");
    expect(failure({ username: "a:b" }).path).toBe("--etcd-username");
  });
});
