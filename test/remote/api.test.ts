// What our server says, byte for byte, beside what 0.7.0's says: captures of the reference are the expectations.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { parseAddress } from "../../src/ip/address.ts";
import { parsePrefix } from "../../src/ip/prefix.ts";
import { systemClock } from "../../src/lib/clock.ts";
import { silentLogger } from "../../src/lib/logger.ts";
import { parseCursor } from "../../src/remote/cursor-text.ts";
import { MemoryRegistry } from "../../src/store/memory/memory-registry.ts";
import { MemoryStore } from "../../src/store/memory/memory-store.ts";
import { ask, rawExchange } from "./raw-http.ts";
import { type Serving, serve } from "./serving.ts";

const { signal } = new AbortController();
const JSON_TYPE = "application/json; charset=utf-8";
const TEXT_TYPE = "text/plain; charset=utf-8";
const ATTRIBUTES = '{"PublicIP":"192.0.2.7","BackendType":"vxlan","BackendData":{"VtepMAC":"82:4b:b6:2f:54:4e"}}';
const TIME = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z`;

let store: MemoryStore;
let registry: MemoryRegistry;
let serving: Serving;
beforeEach(async () => {
  store = new MemoryStore({ clock: systemClock });
  registry = new MemoryRegistry(store, { logger: silentLogger });
  serving = await serve(registry);
  store.setConfig("", '{ "Network": "10.5.0.0/16", "Backend": {"Type": "vxlan"} }');
});
afterEach(async () => {
  await serving[Symbol.asyncDispose]();
  await registry[Symbol.asyncDispose]();
});

const request = (method: string, path: string, body?: string, headers?: Readonly<Record<string, string>>) =>
  ask(serving.port, method, path, { ...(body !== undefined && { body }), ...(headers !== undefined && { headers }) });

/** A lease put there by another host. */
async function lease(number: number, host = 7, isReservation = false) {
  const attributes = { publicIP: parseAddress(`192.0.2.${host}`), backendType: "vxlan" };
  return await registry.createLease(
    "",
    { subnet: parsePrefix(`10.5.${number}.0/24`), attributes, isReservation },
    { signal },
  );
}

function pattern(text: string): RegExp {
  const escaped = text.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
  return new RegExp(
    `^${escaped.replaceAll("TIME", TIME).replaceAll("CURSOR", String.raw`\d+`).replaceAll("SUBNET", String.raw`10\.5\.\d+\.0/24`)}$`,
  );
}

/** The index in a cursor. */
function indexIn(body: string): bigint {
  return parseCursor((JSON.parse(body) as { readonly cursor: string }).cursor).index;
}

describe("GET config", () => {
  test("GET config gives the config with its defaults, in Go's order", async () => {
    expect(await request("GET", "/v1/_/config")).toMatchObject({
      status: 200,
      type: JSON_TYPE,
      body: '{"Network":"10.5.0.0/16","SubnetMin":"10.5.1.0","SubnetMax":"10.5.255.0","SubnetLen":24,"Backend":{"Type":"vxlan"}}\n',
    });
  });

  test("GET config leaves a Backend out that is not there", async () => {
    store.setConfig("blue", '{"Network":"10.6.0.0/16"}');
    expect((await request("GET", "/v1/blue/config")).body).toBe(
      '{"Network":"10.6.0.0/16","SubnetMin":"10.6.1.0","SubnetMax":"10.6.255.0","SubnetLen":24}\n',
    );
  });

  test("GET config of a network that is not there is etcd's error 100", async () => {
    expect(await request("GET", "/v1/nope/config")).toMatchObject({
      status: 500,
      type: TEXT_TYPE,
      body: `100: Key not found (/coreos.com/network/nope) [${store.cursor.index}]`,
    });
  });
});

describe("leases", () => {
  test("POST leases gives a lease", async () => {
    const { status, type, body } = await request("POST", "/v1/_/leases", ATTRIBUTES);
    expect({ status, type }).toEqual({ status: 200, type: JSON_TYPE });
    expect(body).toMatch(pattern(`{"Subnet":"SUBNET","Attrs":${ATTRIBUTES},"Expiration":"TIME"}\n`));
  });

  test("POST leases gives a host its own lease again", async () => {
    const [first, second] = [
      await request("POST", "/v1/_/leases", ATTRIBUTES),
      await request("POST", "/v1/_/leases", ATTRIBUTES),
    ];
    const subnet = (body: string) => (JSON.parse(body) as { readonly Subnet: string }).Subnet;
    expect(subnet(second.body)).toBe(subnet(first.body));
  });

  test.each([
    ["{bad", "JSON decoding error: invalid character 'b' looking for beginning of object key string"],
    ["", "JSON decoding error: EOF"],
  ])("POST leases of %j is answered 400", async (body, text) => {
    expect(await request("POST", "/v1/_/leases", body)).toMatchObject({ status: 400, type: TEXT_TYPE, body: text });
  });

  test("GET leases gives a snapshot", async () => {
    expect((await request("GET", "/v1/_/leases")).body).toMatch(
      pattern('{"events":null,"snapshot":[],"cursor":"CURSOR"}\n'),
    );
    await lease(46);
    const { status, type, body } = await request("GET", "/v1/_/leases");
    expect({ status, type }).toEqual({ status: 200, type: JSON_TYPE });
    expect(body).toMatch(
      pattern(
        '{"events":null,"snapshot":[{"Subnet":"10.5.46.0/24","Attrs":{"PublicIP":"192.0.2.7","BackendType":"vxlan"},"Expiration":"TIME"}],"cursor":"CURSOR"}\n',
      ),
    );
    expect(indexIn(body)).toBe(store.cursor.index);
  });

  test("GET leases shows a reservation by Go's zero time", async () => {
    await lease(46, 7, true);
    expect((await request("GET", "/v1/_/leases")).body).toContain('"Expiration":"0001-01-01T00:00:00Z"');
  });

  test("GET leases?next= gives one event at once, and goes on from its cursor", async () => {
    store.clearHistory();
    const { body: snapshot } = await request("GET", "/v1/_/leases");
    const leases = [await lease(46), await lease(47)];
    let { cursor } = JSON.parse(snapshot) as { readonly cursor: string };
    for (const { revision, subnet } of leases) {
      const { body } = await request("GET", `/v1/_/leases?next=${cursor}`);
      expect(body).toMatch(
        pattern(
          `{"events":[{"type":"added","lease":{"Subnet":"10.5.${(subnet.address.value >> 8n) & 255n}.0/24","Attrs":{"PublicIP":"192.0.2.7","BackendType":"vxlan"},"Expiration":"TIME"}}],"snapshot":null,"cursor":"CURSOR"}\n`,
        ),
      );
      expect(indexIn(body)).toBe(revision);
      ({ cursor } = JSON.parse(body) as { readonly cursor: string });
    }
  });

  test("GET leases?next= takes the plain index that 0.7.0's server gave", async () => {
    const first = await lease(46);
    await lease(47);
    const { body } = await request("GET", `/v1/_/leases?next=${first.revision}`);
    expect(body).toContain('"events":[{"type":"added","lease":{"Subnet":"10.5.47.0/24"');
  });

  test("GET leases?next= waits for what comes", async () => {
    const { cursor } = JSON.parse((await request("GET", "/v1/_/leases")).body) as { readonly cursor: string };
    const answer = request("GET", `/v1/_/leases?next=${cursor}`);
    expect(await Promise.race([answer, new Promise((resolve) => setTimeout(resolve, 300, "waiting"))])).toBe("waiting");
    const held = await lease(46);
    expect((await answer).body).toContain('"type":"added"');
    const removal = request("GET", `/v1/_/leases?next=${held.revision}`);
    await registry.deleteLease("", held, { signal });
    expect((await removal).body).toMatch(
      pattern(
        '{"events":[{"type":"removed","lease":{"Subnet":"10.5.46.0/24","Attrs":{"PublicIP":"0.0.0.0"},"Expiration":"0001-01-01T00:00:00Z"}}],"snapshot":null,"cursor":"CURSOR"}\n',
      ),
    );
  });

  test("GET leases?next= too old, ahead of the history or of another is answered with a snapshot", async () => {
    const { cursor } = JSON.parse((await request("GET", "/v1/_/leases")).body) as { readonly cursor: string };
    await lease(46);
    store.clearHistory();
    await lease(47);
    for (const next of ["0", "99999", cursor, "123450000000000001"]) {
      const { body } = await request("GET", `/v1/_/leases?next=${next}`);
      expect(body).toMatch(/^\{"events":null,"snapshot":\[\{"Subnet":"10\.5\.46\.0\/24".*10\.5\.47\.0/);
    }
  });

  test("GET leases?next=abc says what 0.7.0 says", async () => {
    expect(await request("GET", "/v1/_/leases?next=abc")).toMatchObject({
      status: 500,
      type: TEXT_TYPE,
      body: 'failed to parse cursor: strconv.ParseUint: parsing "abc": invalid syntax',
    });
  });

  test("GET leases/SUBNET gives that lease, and waits for its changes only", async () => {
    const held = await lease(46);
    const { body } = await request("GET", "/v1/_/leases/10.5.46.0-24");
    expect(body).toMatch(
      pattern(
        '{"events":null,"snapshot":[{"Subnet":"10.5.46.0/24","Attrs":{"PublicIP":"192.0.2.7","BackendType":"vxlan"},"Expiration":"TIME"}],"cursor":"CURSOR"}\n',
      ),
    );
    const { cursor } = JSON.parse(body) as { readonly cursor: string };
    const answer = request("GET", `/v1/_/leases/10.5.46.0-24?next=${cursor}`);
    await lease(47);
    await registry.updateLease("", held, { ...held, isReservation: false }, { signal });
    expect((await answer).body).toContain('"events":[{"type":"added","lease":{"Subnet":"10.5.46.0/24"');
  });

  test("GET leases/SUBNET tells what it is not", async () => {
    expect(await request("GET", "/v1/_/leases/garbage")).toMatchObject({
      status: 400,
      type: TEXT_TYPE,
      body: "bad subnet",
    });
    expect(await request("GET", "/v1/_/leases/10.5.46.0-24")).toMatchObject({
      status: 500,
      body: `100: Key not found (/coreos.com/network/subnets/10.5.46.0-24) [${store.cursor.index}]`,
    });
  });

  test("DELETE leases/SUBNET revokes, once", async () => {
    await lease(46);
    const deleted = await request("DELETE", "/v1/_/leases/10.5.46.0-24");
    expect(deleted).toMatchObject({ status: 200, type: null, body: "" });
    expect(await request("DELETE", "/v1/_/leases/10.5.46.0-24")).toMatchObject({
      status: 500,
      body: `100: Key not found (/coreos.com/network/subnets/10.5.46.0-24) [${store.cursor.index}]`,
    });
    expect(await request("DELETE", "/v1/_/leases/x")).toMatchObject({ status: 400, body: "failed to parse subnet" });
  });
});

describe("PUT leases/SUBNET", () => {
  const body = (number: number, host: number) =>
    `{"Subnet":"10.5.${number}.0/24","Attrs":{"PublicIP":"192.0.2.${host}"},"Expiration":"2020-01-01T00:00:00Z"}`;

  test("PUT renews one's own lease; the body says which, not the path", async () => {
    await lease(46);
    const { status, body: answer } = await request("PUT", "/v1/_/leases/10.5.99.0-24", body(46, 7));
    expect(status).toBe(200);
    expect(answer).toMatch(pattern('{"Subnet":"10.5.46.0/24","Attrs":{"PublicIP":"192.0.2.7"},"Expiration":"TIME"}\n'));
    expect(answer).not.toContain("2020");
  });

  test("PUT leaves another's lease alone, and a reservation one", async () => {
    const held = await lease(46);
    expect(await request("PUT", "/v1/_/leases/10.5.46.0-24", body(46, 8))).toMatchObject({
      status: 500,
      body: "subnet: lease already taken",
    });
    expect((await registry.getLease("", held.subnet, { signal }))?.revision).toBe(held.revision);
    await lease(47, 7, true);
    expect((await request("PUT", "/v1/_/leases/10.5.47.0-24", body(47, 7))).body).toContain("0001-01-01T00:00:00Z");
  });

  test("PUT with If-Match writes over that very revision, whoever it says", async () => {
    const held = await lease(46);
    const put = (revision: bigint, host: number) =>
      request("PUT", "/v1/_/leases/10.5.46.0-24", body(46, host), { "If-Match": `"${revision}"` });
    expect((await put(held.revision + 1n, 8)).status).toBe(412);
    const { status, headers } = await put(held.revision, 8);
    expect(status).toBe(200);
    expect(headers.get("etag")).toBe(`"${store.cursor.index}"`);
  });

  test("PUT gives an expired lease again as long as nobody else has it, unless If-Match says it must be there", async () => {
    expect((await request("PUT", "/v1/_/leases/10.5.46.0-24", body(46, 7))).status).toBe(200);
    expect(await request("PUT", "/v1/_/leases/10.9.46.0-24", body(46, 8).replace("10.5", "10.9"))).toMatchObject({
      status: 500,
      body: "subnet: lease already taken",
    });
    expect((await request("PUT", "/v1/_/leases/10.5.47.0-24", body(47, 7), { "If-Match": '"1"' })).status).toBe(412);
  });

  test("DELETE that names a host leaves another's lease alone", async () => {
    const held = await lease(46);
    expect(await request("DELETE", "/v1/_/leases/10.5.46.0-24", '{"PublicIP":"192.0.2.8"}')).toMatchObject({
      status: 500,
      body: "subnet: lease already taken",
    });
    const stale = { "If-Match": `"${held.revision + 1n}"` };
    expect((await request("DELETE", "/v1/_/leases/10.5.46.0-24", "", stale)).status).toBe(412);
    expect((await request("DELETE", "/v1/_/leases/10.5.46.0-24", '{"PublicIP":"192.0.2.7"}')).status).toBe(200);
  });
});

describe("reservations", () => {
  const reserve = (subnet: string, publicIP: string) =>
    request("POST", "/v1/_/reservations", `{"Subnet":"${subnet}","PublicIP":"${publicIP}"}`);

  test("reservations are made, listed and become leases again", async () => {
    expect(await request("GET", "/v1/_/reservations")).toMatchObject({ status: 200, type: JSON_TYPE, body: "[]\n" });
    expect(await reserve("10.5.77.0/24", "192.0.2.77")).toMatchObject({ status: 200, type: null, body: "" });
    expect((await request("GET", "/v1/_/reservations")).body).toBe(
      '[{"Subnet":"10.5.77.0/24","PublicIP":"192.0.2.77"}]\n',
    );
    expect(await request("DELETE", "/v1/_/reservations/10.5.77.0-24")).toMatchObject({
      status: 200,
      type: null,
      body: "",
    });
    expect((await registry.getLease("", parsePrefix("10.5.77.0/24"), { signal }))?.isReservation).toBe(false);
    expect(await request("DELETE", "/v1/_/reservations/x")).toMatchObject({ status: 400, body: "bad subnet" });
  });

  test.each([
    ["10.5.77.0/25", "192.0.2.77", "internal error: reservation subnet has mask incompatible with network config"],
    ["10.9.77.0/24", "192.0.2.77", "internal error: reservation subnet is outside of flannel network"],
    ["10.5.78.0/24", "192.0.2.77", "internal error: subnet: lease already taken"],
  ])("POST reservations of %s for %s is refused in 0.7.0's words", async (subnet, publicIP, text) => {
    await lease(78, 1);
    expect(await reserve(subnet, publicIP)).toMatchObject({ status: 500, type: TEXT_TYPE, body: text });
  });
});

describe("GET /v1/", () => {
  test("GET /v1/ lists the networks, and waits for what changes", async () => {
    expect((await request("GET", "/v1/")).body).toMatch(pattern('{"events":null,"snapshot":[],"cursor":"CURSOR"}\n'));
    store.setConfig("blue", "{}");
    const { status, type, body } = await request("GET", "/v1/");
    expect({ status, type }).toEqual({ status: 200, type: JSON_TYPE });
    expect(body).toMatch(pattern('{"events":null,"snapshot":["blue"],"cursor":"CURSOR"}\n'));
    const { cursor } = JSON.parse(body) as { readonly cursor: string };
    const answer = request("GET", `/v1/?next=${cursor}`);
    await lease(46);
    store.setConfig("green", "{}");
    const zero = '{"Subnet":"0.0.0.0/0","Attrs":{"PublicIP":"0.0.0.0"},"Expiration":"0001-01-01T00:00:00Z"}';
    const { body: added } = await answer;
    expect(added).toMatch(
      pattern(`{"events":[{"type":"added","lease":${zero},"network":"green"}],"snapshot":null,"cursor":"CURSOR"}\n`),
    );
    const { cursor: after } = JSON.parse(added) as { readonly cursor: string };
    store.removeConfig("blue");
    expect((await request("GET", `/v1/?next=${after}`)).body).toContain('"type":"removed"');
    expect((await request("GET", "/v1/?next=99999")).body).toContain('"snapshot":["green"]');
    expect((await request("GET", "/v1/?next=x")).body).toContain("failed to parse cursor");
  });
});

describe("everything else", () => {
  test.each([
    ["POST", "/v1/_/leases/"],
    ["PATCH", "/v1/_/leases"],
    ["GET", "/v1/_/unknown"],
    ["GET", "/v1"],
    ["GET", "/"],
    ["GET", "/v1/a%2Fb/config"],
    ["GET", "/v1/../config"],
    ["DELETE", "/v1/_/config"],
    ["GET", "/v1/_/leases/10.5.1.0-24/more"],
  ])("%s %s is answered 404 as by Go", async (method, path) => {
    expect(await request(method, path)).toMatchObject({ status: 404, type: TEXT_TYPE, body: "404 page not found\n" });
  });

  test.each([
    ["GARBAGE\r\n\r\n", "400 Bad Request"],
    ["GET /v1/_/config HTTP/9.9\r\n\r\n", "400 Bad Request"],
    [Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]), "400 Bad Request"],
    [`GET / HTTP/1.1\r\nHost: x\r\nX-Long: ${"x".repeat(100_000)}\r\n\r\n`, "431 Request Header Fields Too Large"],
    [`POST /v1/_/leases HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n`, "413 Payload Too Large"],
    [
      `POST /v1/_/leases HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n${"x".repeat(0x20000)}\r\n`,
      "413 Payload Too Large",
    ],
  ])("bytes %# that are no request of ours get a clear answer, and nobody else notices", async (bytes, status) => {
    const waiting = request("GET", `/v1/_/leases?next=${store.cursor.index}`);
    expect((await rawExchange(serving.port, bytes)).split("\r\n")[0]).toBe(`HTTP/1.1 ${status}`);
    await lease(46);
    expect((await waiting).body).toContain("10.5.46.0/24");
  });
});
