import { AttachmentRecords } from "./attachment-records.ts";
import { asCniError, CNI_CODE, CniError } from "./cni-error.ts";
import { type Request, readSubnetFile } from "./commands.ts";
import { tryLockContainer } from "./container-lock.ts";
import { runDelegate } from "./delegate.ts";
import { renderDelegateConfig, withValidAttachments } from "./delegate-config.ts";
import type { Attachment } from "./environment.ts";

/**
 * Undoes every ADD of this network that the runtime does not list, then lets the delegate look for more. One failure does not keep
 * the rest from being tried.
 * @throws {CniError} with all that failed
 */
export function collectGarbage({ config, variables }: Request): string {
  const { dataDir, name, validAttachments } = config;
  if (validAttachments === undefined)
    throw new CniError(CNI_CODE.invalidConfig, "cni.dev/valid-attachments is missing: GC needs to know what is in use");
  const failures: CniError[] = [];
  const attempt = (work: () => void) => {
    try {
      work();
    } catch (error) {
      failures.push(asCniError(error));
    }
  };
  const records = new AttachmentRecords(dataDir);
  const { records: known, errors } = records.list();
  failures.push(...errors);
  const ofNetwork = known.filter(({ config }) => config.name === name);
  for (const { attachment, config: delegate } of ofNetwork.filter(
    ({ attachment }) => !isValid(attachment, validAttachments),
  ))
    attempt(() => {
      const { containerID, ifname } = attachment;
      using lock = tryLockContainer(dataDir, containerID);
      if (lock === undefined) return; // being added or deleted: it is in better hands
      const own = { ...variables, CNI_COMMAND: "DEL", CNI_CONTAINERID: containerID, CNI_IFNAME: ifname, CNI_NETNS: "" };
      runDelegate({ config: delegate, variables: own, lock: lock.descriptor });
      records.remove(attachment);
    });
  attempt(() => records.removeAbandonedFiles(Date.now()));
  attempt(() => {
    const [last] = ofNetwork;
    const delegate =
      withoutFlanneld(() => renderDelegateConfig(config, readSubnetFile(config.subnetFile))) ?? last?.config;
    if (delegate !== undefined) runDelegate({ config: withValidAttachments(delegate, config), variables });
  });
  const [first] = failures;
  if (first === undefined) return "";
  throw new CniError(first.code, failures.map(({ message }) => message).join("; "), first.details, { cause: first });
}

function isValid({ containerID, ifname }: Attachment, valid: readonly Attachment[]): boolean {
  return valid.some((attachment) => attachment.containerID === containerID && attachment.ifname === ifname);
}

/** Before flanneld has written its file, what an earlier ADD said of the network is enough. */
function withoutFlanneld<T>(render: () => T): T | undefined {
  try {
    return render();
  } catch (error) {
    if (error instanceof CniError && error.code === CNI_CODE.tryAgainLater) return undefined;
    throw error;
  }
}
