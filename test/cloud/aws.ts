import { Ec2Api } from "./ec2-api.ts";
import { type FakeInstance, FakeVpc } from "./fake-vpc.ts";
import { InstanceMetadata } from "./instance-metadata.ts";
import { listen } from "./listen.ts";
import type { Identity } from "./sigv4.ts";

/** Nobody may see these. */
export const SECRETS = {
  key: "AKIAIOSFODNN7EXAMPLE",
  secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
  token: "FwoGZXIvYXdzEXAMPLESESSIONTOKEN/+=",
};

/** An account with a VPC, its API and its instances' metadata, on ports of this machine, and the environment that leads there. */
export interface Aws extends AsyncDisposable {
  readonly vpc: FakeVpc;
  readonly api: Ec2Api;
  readonly metadata: InstanceMetadata;
  readonly env: Readonly<Record<string, string>>;
  readonly self: FakeInstance;
}

export interface AwsOptions {
  /** Of the VPC. */
  readonly ipv6Range?: string;
  /** Of the instance. */
  readonly ipv6?: string;
}

export async function openAws({ ipv6Range, ipv6 }: AwsOptions = {}): Promise<Aws> {
  const identity: Identity = { key: SECRETS.key, secret: SECRETS.secret };
  const vpc = new FakeVpc("192.0.2.0/24", ipv6Range);
  const self = vpc.launch("192.0.2.1", { ipv6 });
  const api = new Ec2Api(vpc);
  const metadata = new InstanceMetadata(vpc);
  api.identities.push(identity);
  await using cleanup = new AsyncDisposableStack();
  const ec2 = cleanup.use(await listen((request, response) => api.handle(request, response)));
  const imds = cleanup.use(await listen((request, response) => metadata.handle(request, response, self.address)));
  const env = {
    AWS_ENDPOINT_URL_EC2: ec2.url,
    AWS_EC2_METADATA_SERVICE_ENDPOINT: imds.url,
    AWS_ACCESS_KEY_ID: identity.key,
    AWS_SECRET_ACCESS_KEY: identity.secret,
  };
  const end = cleanup.move();
  return { vpc, api, metadata, env, self, [Symbol.asyncDispose]: () => end.disposeAsync() };
}
