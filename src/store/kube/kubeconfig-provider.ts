import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { JSONPath } from "jsonpath-plus";
import type { AuthProvider } from "./kubeconfig-user.ts";

type Config = AuthProvider["config"];

/** Milliseconds until a program that does not end is killed. */
const PATIENCE = 30_000;

/**
 * The token of a user by `auth-provider` `gcp` or `azure`, as kubeconfigs had it before `exec`: what is written there, or what a program
 * prints. The library would run the program, too, but through a shell, and with everything else held up until it ends.
 */
export class ProviderSession {
  readonly #name: string;
  readonly #config: Config;
  #token: string | undefined;
  /** Milliseconds since 1970. */
  #end: number;
  #renewal: Promise<string> | undefined;

  constructor({ name, config }: AuthProvider) {
    this.#name = name;
    this.#config = config;
    this.#token = text(config, "access-token");
    const seconds = Number(text(config, "expires-on")); // of azure
    this.#end = endOf(text(config, "expiry")) ?? (seconds > 0 ? seconds * 1000 : Infinity);
  }

  /** Whether this is what goes on from such a config. */
  isOf({ name, config }: AuthProvider): boolean {
    return name === this.#name && JSON.stringify(config) === JSON.stringify(this.#config);
  }

  /** @throws {Error} if it has run out and there is no program for another, or that fails or makes no sense */
  async token(now: Date): Promise<string> {
    if (this.#token !== undefined && now.getTime() < this.#end) return this.#token;
    this.#renewal ??= this.#renewed().finally(() => (this.#renewal = undefined)); // once for all calls that wait
    return await this.#renewal;
  }

  /** The server did not accept it, whatever it says of its end. */
  forget(): void {
    if (text(this.#config, "cmd-path") !== undefined) this.#token = undefined; // else it is all there is, and may do later
  }

  async #renewed(): Promise<string> {
    const program = text(this.#config, "cmd-path");
    if (program === undefined) {
      const why = this.#token === undefined ? "there is none" : "it has run out";
      throw new Error(
        `access-token of its auth-provider ${this.#name}: ${why}, and no cmd-path names a program for it`,
      );
    }
    const args = (text(this.#config, "cmd-args") ?? "").split(/\s+/).filter(Boolean);
    const { stdout } = await promisify(execFile)(program, args, { timeout: PATIENCE, killSignal: "SIGKILL" });
    const answer = parsed(program, stdout);
    const token = this.#found(answer, "token-key", "{.access_token}");
    if (token === undefined) throw new Error(`${program} printed no token where token-key leads`);
    this.#end = endOf(this.#found(answer, "expiry-key", "{.token_expiry}")) ?? Infinity;
    return (this.#token = token);
  }

  /** Where a path in braces leads, a "JSONPath template" of the Kubernetes documentation. */
  #found(answer: unknown, field: string, path: string): string | undefined {
    const inner = /^\{(.+)\}$/.exec(text(this.#config, field) ?? path)?.[1];
    if (inner === undefined)
      throw new Error(`${field} of its auth-provider ${this.#name} must be a path in braces, as ${path}`);
    const found: unknown = JSONPath({ path: `$${inner}`, json: answer as object, wrap: false, eval: false });
    return typeof found === "string" && found !== "" ? found : undefined;
  }
}

function text(config: Config, name: string): string | undefined {
  const value = config[name];
  return typeof value === "string" && value !== "" ? value : undefined;
}

function parsed(program: string, output: string): unknown {
  try {
    return JSON.parse(output);
  } catch {
    throw new Error(`${program} printed what is no JSON`); // it may be a token: it is not repeated
  }
}

/** Undefined if it does not say, or makes no sense: the server will. */
function endOf(expiry: string | undefined): number | undefined {
  const end = Date.parse(expiry ?? "");
  return Number.isNaN(end) ? undefined : end;
}
