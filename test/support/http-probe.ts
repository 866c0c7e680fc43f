import type { Place } from "../../src/lab/place.ts";

/** Where a kubelet asks, as a probe in a manifest has it. */
export interface HttpProbe {
  readonly host: string;
  readonly port: number;
  readonly path: string;
}

/** GET, from a host or a pod of a lab. @returns status and text: `200 flanneld is running`, or "" if nobody answers */
export async function httpProbe(from: Place, { host, port, path }: HttpProbe): Promise<string> {
  const ask = `exec 3<>/dev/tcp/${host}/${port} && printf 'GET ${path} HTTP/1.0\\r\\n\\r\\n' >&3 && timeout 10 cat <&3`;
  const { stdout } = await from.exec(["bash", "--norc", "-c", ask]);
  const [head = "", text = ""] = stdout.split("\r\n\r\n");
  const status = /^HTTP\/1\.\d (\d{3})/.exec(head)?.[1];
  return status === undefined ? "" : `${status} ${text}`;
}
