import { mkdirSync, readFileSync } from "node:fs";
import { containsPrefix, formatPrefix, parsePrefix } from "../ip/prefix.ts";
import { AttachmentRecords, isMissing } from "./attachment-records.ts";
import { CNI_CODE, CniError } from "./cni-error.ts";
import { findDelegate, runDelegate } from "./delegate.ts";
import { type DelegateConfig, renderDelegateConfig, withGateways, withPreviousResult } from "./delegate-config.ts";
import { parseAttachment, type Variables } from "./environment.ts";
import { type HandOver, PATIENCE } from "./hand-over.ts";
import { isJsonObject } from "./json-object.ts";
import { describeKeptSubnet } from "./kept-subnet.ts";
import type { NetworkConfig } from "./network-config.ts";
import { parseSubnetFile, type SubnetFile } from "./subnet-file.ts";

/** What every command is given. */
export interface Request {
  readonly config: NetworkConfig;
  readonly variables: Variables;
}

/**
 * Joins a container to the network. The record comes before the delegate: whatever happens in between, a DEL finds what to undo.
 * The result is the delegate's, byte for byte.
 */
export function add({ config, variables }: Request): HandOver {
  const attachment = attachmentOf(variables);
  const { containerID } = attachment;
  const { dataDir } = config;
  const file = readSubnetFile(config.subnetFile);
  const delegate = renderDelegateConfig(config, file);
  const path = findDelegate(delegate.type, variables); // nothing is left behind if it is not there
  makeDataDirectory(dataDir);
  const record = new AttachmentRecords(dataDir).write(attachment, delegate);
  const missing = new CniError(CNI_CODE.tryAgainLater, `container ${containerID} was deleted while it was being added`);
  const required = { file: record, missing };
  const hint = keptSubnet(delegate, file);
  return { path, config: delegate, variables, containerID, dataDir, busy: busy(containerID), required, hint };
}

/** Undoes an ADD, complete or not, as often as asked; needs neither the network namespace nor flanneld's file. */
export function del({ config, variables }: Request): HandOver | string {
  const attachment = attachmentOf(variables);
  const { containerID } = attachment;
  const { dataDir } = config;
  const records = new AttachmentRecords(dataDir);
  records.removeRemainsOf(attachment);
  const delegate = whatWasAdded(records, { config, variables });
  if (delegate === undefined) return "";
  const path = findDelegate(delegate.type, variables);
  makeDataDirectory(dataDir);
  const obsolete = records.filesOf(attachment);
  const asked = withPreviousResult(delegate, config);
  return { path, config: asked, variables, containerID, dataDir, busy: busy(containerID), obsolete, hint: undefined };
}

/** Whether a container is still as its ADD left it, by the delegate's judgement, and still in this host's subnet by ours. */
export function check({ config, variables }: Request): string {
  const attachment = attachmentOf(variables);
  if (config.prevResult === undefined)
    throw new CniError(CNI_CODE.invalidConfig, "prevResult is missing: CHECK compares with the result of the ADD");
  const record = new AttachmentRecords(config.dataDir).read(attachment);
  if (record === undefined)
    throw new CniError(
      CNI_CODE.unknownContainer,
      `container ${attachment.containerID} was not added to network ${config.name}: ${config.dataDir} knows nothing of it`,
    );
  refuseLostSubnet(record.config, config.subnetFile);
  const completed = { ...config, prevResult: withGateways(config.prevResult) };
  return runDelegate({ config: withPreviousResult(record.config, completed), variables });
}

/** Whether an ADD would succeed now, as far as can be seen. */
export function status({ config, variables }: Request): string {
  const unavailable = (code: number, error: unknown) =>
    new CniError(code, error instanceof Error ? error.message : String(error), undefined, { cause: error });
  let delegate: DelegateConfig;
  let kept: string | undefined;
  try {
    const file = readSubnetFile(config.subnetFile);
    delegate = renderDelegateConfig(config, file);
    kept = keptSubnet(delegate, file);
    if (variables["CNI_PATH"]) findDelegate(delegate.type, variables);
  } catch (error) {
    throw unavailable(CNI_CODE.notAvailable, error);
  }
  if (kept !== undefined) throw unavailable(CNI_CODE.notAvailableLimited, kept);
  return variables["CNI_PATH"] ? runDelegate({ config: delegate, variables }) : "";
}

/** @throws {CniError} if flanneld has not written it, or it makes no sense */
export function readSubnetFile(path: string): SubnetFile {
  try {
    return parseSubnetFile(readFileSync(path, "utf8"), path);
  } catch (error) {
    if (!isMissing(error)) throw error;
    throw new CniError(
      CNI_CODE.tryAgainLater,
      `${path} is not there: flanneld writes it as soon as this host has a subnet; is flanneld running, and what does its log say?`,
      undefined,
      { cause: error },
    );
  }
}

/** By the record, or what an ADD would ask for now; undefined if nobody can tell, and nothing needs to be undone. */
function whatWasAdded(records: AttachmentRecords, { config, variables }: Request): DelegateConfig | undefined {
  const attachment = attachmentOf(variables);
  let recorded = true;
  try {
    const record = records.read(attachment);
    if (record !== undefined) return record.config;
    recorded = false;
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    process.stderr.write(`flannel: ${error.message}; what an ADD would ask for now is undone\n`);
  }
  try {
    const delegate = renderDelegateConfig(config, readSubnetFile(config.subnetFile));
    findDelegate(delegate.type, variables);
    return delegate;
  } catch (error) {
    if (recorded) throw error; // something was added; flanneld's file will be there again
    return undefined;
  }
}

function attachmentOf(variables: Variables) {
  return parseAttachment({ containerID: variables["CNI_CONTAINERID"], ifname: variables["CNI_IFNAME"] });
}

/** @throws {CniError} if the addresses that were handed out are no longer this host's: nobody sends packets for them here */
function refuseLostSubnet(delegate: DelegateConfig, subnetFile: string): void {
  let file: SubnetFile;
  try {
    file = readSubnetFile(subnetFile);
  } catch {
    return; // packets flow without it
  }
  const lost = subnetsOf(delegate).find(
    (text) => !file.subnets.some((subnet) => containsPrefix(subnet, parsePrefix(text))),
  );
  if (lost !== undefined)
    throw new CniError(
      CNI_CODE.subnetChanged,
      `the container's address is of ${lost}, but this host's subnet is ${file.subnets.map(formatPrefix).join(", ")}: make the container anew`,
    );
}

/** `ipam.ranges` of a record, whoever wrote it. */
function subnetsOf(delegate: DelegateConfig): readonly string[] {
  const ranges = isJsonObject(delegate["ipam"]) ? delegate["ipam"]["ranges"] : undefined;
  if (!Array.isArray(ranges)) return [];
  return ranges
    .flat()
    .map((range: unknown) => (isJsonObject(range) ? range["subnet"] : undefined))
    .filter((subnet) => typeof subnet === "string");
}

function busy(containerID: string): CniError {
  const why = `another operation on container ${containerID} has been running for ${PATIENCE} s`;
  return new CniError(CNI_CODE.tryAgainLater, why);
}

function makeDataDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
}

function keptSubnet(delegate: DelegateConfig, file: SubnetFile): string | undefined {
  let routes: string;
  try {
    routes = readFileSync("/proc/net/route", "latin1");
  } catch {
    return undefined; // it is for an explanation only
  }
  return describeKeptSubnet(delegate, file, routes);
}
