import { Agent } from "node:https";
import {
  CreateRouteCommand,
  type CreateRouteCommandInput,
  DeleteRouteCommand,
  type DeleteRouteCommandInput,
  DescribeInstancesCommand,
  DescribeRouteTablesCommand,
  EC2Client,
  type EC2ClientConfig,
  type Filter,
  ModifyInstanceAttributeCommand,
  ModifyNetworkInterfaceAttributeCommand,
  ReplaceRouteCommand,
  type ReplaceRouteCommandInput,
  type RouteTable,
} from "@aws-sdk/client-ec2";
import type { Abortable } from "../../lib/abortable.ts";
import type { Milliseconds } from "../../lib/clock.ts";
import { isAbort } from "../../lib/errors.ts";
import { orAbort } from "../../lib/or-abort.ts";
import { isCloudError } from "../cloud-error.ts";
import { envUrl } from "../env-url.ts";
import { type Ec2Request, ec2Error } from "./errors.ts";

export interface Ec2Place {
  readonly region: string;
  readonly partition: string;
  readonly account: string | undefined;
}

/** Of one attempt. */
const TIMEOUT: Milliseconds = 10_000;

type Env = Readonly<Record<string, string | undefined>>;

/** Requests of EC2's that flannel makes, each throwing a `CloudError` or the signal's reason. */
export class Ec2 {
  readonly #place: Ec2Place;
  readonly #client: EC2Client;
  #steps = 0;

  /** @param env the SDK itself reads the process's; these are for what it does not know */
  constructor(place: Ec2Place, env: Env) {
    this.#place = place;
    for (const name of ["AWS_ENDPOINT_URL_EC2", "AWS_ENDPOINT_URL"]) if (env[name]) envUrl(name, env[name]);
    // Proxies as everywhere: HTTPS_PROXY, NO_PROXY.
    const httpsAgent = new Agent({ keepAlive: false, proxyEnv: { ...env } });
    const credentials = credentialsOfEnv(env);
    const config = {
      region: place.region,
      requestHandler: { httpsAgent, connectionTimeout: 3_000, requestTimeout: TIMEOUT, throwOnRequestTimeout: true },
      ignoreCache: true, // of shared files: they are read again when credentials are refreshed
      ...(credentials !== undefined && { credentials }),
    } satisfies EC2ClientConfig & { ignoreCache: boolean };
    this.#client = new EC2Client(config);
    this.#client.middlewareStack.add(
      (next) => (args) => {
        this.#steps++;
        return next(args);
      },
      { step: "finalizeRequest", priority: "low", name: "countAttempts" }, // within the SDK's retries
    );
  }

  /** Grows with every attempt. */
  get steps(): number {
    return this.#steps;
  }

  arn(kind: "route-table" | "network-interface" | "instance", id: string): string {
    const { region, partition, account } = this.#place;
    return `arn:${partition}:ec2:${region}:${account ?? "*"}:${kind}/${id}`;
  }

  /** All that match, with all their routes. */
  async routeTables(filters: readonly Filter[], { signal }: Abortable): Promise<readonly RouteTable[]> {
    const tables: RouteTable[] = [];
    let page: string | undefined;
    do {
      const command = new DescribeRouteTablesCommand({
        Filters: [...filters],
        MaxResults: 100,
        ...(page !== undefined && { NextToken: page }),
      });
      const answer = await this.#ask(
        "DescribeRouteTables",
        "*",
        () => this.#client.send(command, { abortSignal: signal }),
        signal,
      );
      tables.push(...(answer.RouteTables ?? []));
      page = answer.NextToken;
    } while (page !== undefined && page !== "");
    return tables;
  }

  createRoute(input: CreateRouteCommandInput & { RouteTableId: string }, { signal }: Abortable): Promise<unknown> {
    const command = new CreateRouteCommand(input);
    return this.#onTable("CreateRoute", input, () => this.#client.send(command, { abortSignal: signal }), signal);
  }

  replaceRoute(input: ReplaceRouteCommandInput & { RouteTableId: string }, { signal }: Abortable): Promise<unknown> {
    const command = new ReplaceRouteCommand(input);
    return this.#onTable("ReplaceRoute", input, () => this.#client.send(command, { abortSignal: signal }), signal);
  }

  deleteRoute(input: DeleteRouteCommandInput & { RouteTableId: string }, { signal }: Abortable): Promise<unknown> {
    const command = new DeleteRouteCommand(input);
    return this.#onTable("DeleteRoute", input, () => this.#client.send(command, { abortSignal: signal }), signal);
  }

  /** Whether the interface's source/destination check is on; undefined if EC2 does not say. */
  async sourceDestCheck(
    instance: string,
    networkInterface: string,
    { signal }: Abortable,
  ): Promise<boolean | undefined> {
    const command = new DescribeInstancesCommand({ InstanceIds: [instance] });
    const answer = await this.#ask(
      "DescribeInstances",
      "*",
      () => this.#client.send(command, { abortSignal: signal }),
      signal,
    );
    const instances = (answer.Reservations ?? []).flatMap((reservation) => reservation.Instances ?? []);
    const interfaces = instances.flatMap((found) => found.NetworkInterfaces ?? []);
    return interfaces.find(({ NetworkInterfaceId }) => NetworkInterfaceId === networkInterface)?.SourceDestCheck;
  }

  turnOffCheckOfInterface(networkInterface: string, { signal }: Abortable): Promise<unknown> {
    const command = new ModifyNetworkInterfaceAttributeCommand({
      NetworkInterfaceId: networkInterface,
      SourceDestCheck: { Value: false },
    });
    const resource = this.arn("network-interface", networkInterface);
    const send = () => this.#client.send(command, { abortSignal: signal });
    return this.#ask("ModifyNetworkInterfaceAttribute", resource, send, signal);
  }

  /** Only for instances with a single interface. */
  turnOffCheckOfInstance(instance: string, { signal }: Abortable): Promise<unknown> {
    const command = new ModifyInstanceAttributeCommand({ InstanceId: instance, SourceDestCheck: { Value: false } });
    const send = () => this.#client.send(command, { abortSignal: signal });
    return this.#ask("ModifyInstanceAttribute", this.arn("instance", instance), send, signal);
  }

  #onTable<T>(
    action: string,
    { RouteTableId }: { readonly RouteTableId: string },
    send: () => Promise<T>,
    signal: AbortSignal,
  ) {
    return this.#ask(action, this.arn("route-table", RouteTableId), send, signal);
  }

  /** Once more with other credentials, if those that were used are not accepted and others are to be had by now. */
  async #ask<T>(action: string, resource: string, send: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const request: Ec2Request = { action, resource, region: this.#place.region };
    try {
      return await this.#once(request, send, signal);
    } catch (error) {
      if (!isCloudError(error, "credentials") || !(await this.#refreshed(signal))) throw error;
      return await this.#once(request, send, signal);
    }
  }

  async #once<T>(request: Ec2Request, send: () => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    try {
      return await orAbort(send(), signal); // the SDK does not look at the signal between two attempts
    } catch (error) {
      if (isAbort(error, signal)) throw signal.reason;
      throw ec2Error(error, request);
    }
  }

  /** Asks for credentials anew, whatever their expiry says. @returns whether they are others */
  async #refreshed(signal: AbortSignal): Promise<boolean> {
    const { credentials } = this.#client.config;
    try {
      const before = await orAbort(credentials(), signal);
      const after = await orAbort(credentials({ forceRefresh: true }), signal);
      return before.accessKeyId !== after.accessKeyId || before.sessionToken !== after.sessionToken;
    } catch (error) {
      if (isAbort(error, signal)) throw error;
      return false; // then there are none, as the first error says
    }
  }
}

/** AWS_SECURITY_TOKEN is what 0.7.0's README calls the session token, and its SDK read; today's reads AWS_SESSION_TOKEN only. */
function credentialsOfEnv(env: Env) {
  const { AWS_ACCESS_KEY_ID: key, AWS_SECRET_ACCESS_KEY: secret, AWS_SECURITY_TOKEN: token } = env;
  if (!key || !secret || !token || env["AWS_SESSION_TOKEN"] || env["AWS_PROFILE"]) return undefined;
  return { accessKeyId: key, secretAccessKey: secret, sessionToken: token };
}
