import { ComputeApi, type GceInstance } from "./compute-api.ts";
import { GceMetadata } from "./gce-metadata.ts";
import { listen } from "./listen.ts";

/** A project with its compute API and its instances' metadata, on ports of this machine, and the environment that leads there. */
export interface Gce extends AsyncDisposable {
  readonly api: ComputeApi;
  readonly metadata: GceMetadata;
  readonly env: Readonly<Record<string, string>>;
  readonly self: GceInstance;
}

export interface GceOptions {
  /** What the instance has besides its IPv4 address. */
  readonly ipv6?: string;
  /** Where its metadata is. */
  readonly metadataHost?: string;
}

export async function openGce({ ipv6, metadataHost }: GceOptions = {}): Promise<Gce> {
  const api = new ComputeApi();
  const metadata = new GceMetadata(api);
  const self = api.launch("192.0.2.1", { ipv6 });
  await using cleanup = new AsyncDisposableStack();
  const compute = cleanup.use(await listen((request, response) => api.handle(request, response)));
  const server = cleanup.use(
    await listen((request, response) => metadata.handle(request, response, self.address), metadataHost),
  );
  const env = {
    CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE: `${compute.url}/compute/v1/`,
    GCE_METADATA_HOST: new URL(server.url).host,
    HOME: "/nonexistent",
  };
  const end = cleanup.move();
  return { api, metadata, env, self, [Symbol.asyncDispose]: () => end.disposeAsync() };
}
