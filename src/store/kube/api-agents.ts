import type { Agent as HttpAgent } from "node:http";
import type { Connection, TlsOptions } from "./api-access.ts";

const { networkInterfaces } = process.getBuiltinModule("node:os");
const http = process.getBuiltinModule("node:http");
const https = () => process.getBuiltinModule("node:https");

/** Shorter than an API server keeps an idle connection, so that it is seldom closed under a request. */
const OPTIONS = { keepAlive: true, maxFreeSockets: 2, timeout: 60_000 };

/** Connections kept for the next call as long as credentials are the same: one made with an old certificate must not be used again. */
export class ApiAgents implements Disposable {
  #agent: HttpAgent | undefined;
  #madeFor = "";

  for(url: string, { tls, agent }: Connection): HttpAgent {
    if (agent !== undefined) return agent;
    this.#closeStranded();
    const isTls = url.startsWith("https:");
    const wanted = isTls ? describe(tls) : "plain";
    if (this.#agent === undefined || this.#madeFor !== wanted) {
      this.#agent?.destroy();
      this.#agent = isTls ? new (https().Agent)(OPTIONS) : new http.Agent(OPTIONS);
      this.#madeFor = wanted;
    }
    return this.#agent;
  }

  /**
   * Connections from an address that this host has no more: nothing arrives by them, which they would notice after a quarter of a minute.
   * Watches are begun anew then.
   */
  #closeStranded(): void {
    const kept = [this.#agent?.freeSockets, this.#agent?.sockets].flatMap((each) => Object.values(each ?? {}).flat());
    const from = kept.filter((socket) => socket?.localAddress !== undefined);
    if (from.length === 0) return;
    const own = new Set(Object.values(networkInterfaces()).flatMap((each) => each?.map(({ address }) => address)));
    for (const socket of from) if (!own.has(socket?.localAddress?.replace(/%.*/, ""))) socket?.destroy();
  }

  [Symbol.dispose](): void {
    this.#agent?.destroy();
  }
}

function describe({ ca, cert, key, rejectUnauthorized, servername }: TlsOptions): string {
  return [ca, cert, key, rejectUnauthorized, servername].map(String).join("\0");
}
