// Verifies requests as AWS does: "Signature Version 4 for API requests", IAM User Guide. Written from that description, for tests.
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

export interface Identity {
  readonly key: string;
  readonly secret: string;
  /** Of temporary credentials. */
  readonly token?: string | undefined;
}

export type Verdict =
  | { readonly identity: Identity; readonly region: string }
  | { readonly code: string; readonly message: string };

const FIFTEEN_MINUTES = 15 * 60_000;

export function verify(
  request: IncomingMessage,
  body: string,
  service: string,
  find: (key: string) => Identity | undefined,
): Verdict {
  const header = request.headers.authorization ?? "";
  const match =
    /^AWS4-HMAC-SHA256 Credential=([^/,]+)\/(\d{8})\/([^/,]+)\/([^/,]+)\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
      header,
    );
  const date = single(request, "x-amz-date");
  if (match === null || date === undefined)
    return { code: "MissingAuthenticationToken", message: "Request is missing Authentication Token" };
  const [, key = "", day = "", region = "", signedService = "", signedHeaders = "", signature = ""] = match;
  const identity = find(key);
  if (identity === undefined)
    return { code: "AuthFailure", message: "AWS was not able to validate the provided access credentials" };
  const names = signedHeaders.split(";");
  const mustBeSigned = ["host", ...Object.keys(request.headers).filter((name) => name.startsWith("x-amz-"))];
  const canonical = [
    request.method,
    new URL(request.url ?? "/", "https://x").pathname,
    "",
    ...names.map((name) => `${name}:${(single(request, name) ?? "").trim().replace(/ +/g, " ")}`),
    "",
    signedHeaders,
    sha256(body),
  ].join("\n");
  const scope = `${day}/${region}/${service}/aws4_request`;
  const toSign = ["AWS4-HMAC-SHA256", date, scope, sha256(canonical)].join("\n");
  const signingKey = [day, region, service, "aws4_request"].reduce<string | Buffer>(
    (k, text) => hmac(k, text),
    `AWS4${identity.secret}`,
  );
  const expected = hmac(signingKey, toSign);
  const isSigned =
    signedService === service &&
    date.startsWith(day) &&
    mustBeSigned.every((name) => names.includes(name)) &&
    timingSafeEqual(expected, Buffer.from(signature, "hex"));
  if (!isSigned)
    // As AWS does, which sends back what it signed, session token and all.
    return {
      code: "SignatureDoesNotMatch",
      message: `The request signature we calculated does not match the signature you provided. The Canonical String for this request should have been '${canonical}'`,
    };
  if (identity.token !== undefined && single(request, "x-amz-security-token") !== identity.token)
    return { code: "AuthFailure", message: "AWS was not able to validate the provided access credentials" };
  if (Math.abs(Date.now() - timeOf(date)) > FIFTEEN_MINUTES)
    return { code: "RequestExpired", message: "Request has expired." };
  return { identity, region };
}

function single(request: IncomingMessage, name: string): string | undefined {
  const value = request.headers[name];
  return Array.isArray(value) ? value.join(",") : value;
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

function timeOf(date: string): number {
  return Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));
}
