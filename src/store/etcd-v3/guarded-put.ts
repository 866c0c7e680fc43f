import type { Abortable } from "../../lib/abortable.ts";
import { UncertainWriteError } from "../etcd/endpoints.ts";
import { type EtcdV3Client, encode } from "./etcd-v3-client.ts";
import type { Grant, Grants } from "./grants.ts";
import { COMPARE_MOD_REVISION, type KeyValue } from "./rpc.ts";

/** Holds if the key's last change is `revision`, with 0 if there is no such key, and, with `end`, none from there up to `end`. */
export interface Guard {
  readonly key: string;
  readonly revision: bigint | undefined;
  readonly end?: string;
}

export interface Write {
  readonly key: string;
  readonly value: Uint8Array;
  readonly grant: Grant | undefined;
  readonly guard: Guard;
  /** The key that goes when this one comes. */
  readonly replaces?: string;
}

/** What a conditional put came to; `former` is the id of the etcd lease that the key hung on before. */
export interface Put {
  readonly revision: bigint;
  readonly former: bigint;
}

/**
 * Puts if the guard holds; undefined if not. After an uncertain outcome the store is asked what it holds, and nothing is tried twice. A
 * grant that comes to nothing is revoked.
 */
export async function guardedPut(
  client: EtcdV3Client,
  grants: Grants,
  { key, value, grant, guard, replaces = key }: Write,
  { signal }: Abortable,
): Promise<Put | undefined> {
  const lease = grant?.id ?? 0n;
  const removal = { requestDeleteRange: { key: encode(replaces), prevKv: true } };
  const put = { requestPut: { key: encode(key), value, lease, prevKv: true } };
  try {
    const { header, succeeded, responses } = await client.txn(
      {
        compare: [
          ...(guard.revision === undefined ? [] : [unchanged(guard)]),
          ...(replaces === key ? [] : [unchanged({ key, revision: 0n })]),
        ],
        success: replaces === key ? [put] : [removal, put],
      },
      { signal, purpose: `write ${key}` },
    );
    const [first] = responses;
    const former = (first?.responseDeleteRange?.prevKvs[0] ?? first?.responsePut?.prevKv)?.lease ?? 0n;
    if (succeeded) return { revision: header?.revision ?? 0n, former };
  } catch (error) {
    if (error instanceof UncertainWriteError) {
      const found = await readKey(client, key, { signal });
      if (found?.lease === lease && Buffer.compare(found.value, value) === 0)
        return { revision: found.modRevision, former: 0n };
      throw error.cause; // it may still happen: the grant has to stay
    }
    if (grant !== undefined && !signal.aborted) await grants.revokeIfUnused(grant.id, { signal });
    throw error;
  }
  if (grant !== undefined) await grants.revokeIfUnused(grant.id, { signal });
  return undefined;
}

/** Undefined if there is none. */
export async function readKey(client: EtcdV3Client, key: string, { signal }: Abortable): Promise<KeyValue | undefined> {
  return (await client.range({ key: encode(key) }, { signal, purpose: `read ${key}` })).kvs[0];
}

/** The guard as etcd compares it. */
export function unchanged({ key, revision = 0n, end }: Guard) {
  return {
    target: COMPARE_MOD_REVISION,
    modRevision: revision,
    key: encode(key),
    ...(end !== undefined && { rangeEnd: encode(end) }),
  };
}
