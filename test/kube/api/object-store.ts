import { randomUUID } from "node:crypto";
import { type KubeObject, nodes, type Resource } from "./objects.ts";
import { alreadyExists, notFound } from "./status.ts";

export interface Change {
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly resource: Resource;
  /** As it is after the change; a deleted one as it was, with the version of its deletion. */
  readonly object: KubeObject;
  readonly before?: KubeObject;
  readonly version: number;
}

/** What the API keeps, as etcd does under a real one: one counter for all changes, and a history of them that can be forgotten. */
export class ObjectStore {
  readonly #objects = new Map<string, KubeObject>();
  readonly #listeners = new Set<(change: Change) => void>();
  #history: Change[] = [];
  #version: number;
  /** Changes up to this version cannot be told any more. */
  #compacted: number;
  /** For listings that are told in pages: what was there at a version. */
  readonly #snapshots = new Map<string, readonly KubeObject[]>();

  constructor(version = 1000) {
    this.#version = version;
    this.#compacted = version - 1;
  }

  get version(): number {
    return this.#version;
  }

  get compacted(): number {
    return this.#compacted;
  }

  get(resource: Resource, namespace: string, name: string): KubeObject | undefined {
    return this.#objects.get(keyOf(resource, namespace, name));
  }

  /** In the order of their names; of all namespaces if none is given. */
  list(resource: Resource, namespace?: string): readonly KubeObject[] {
    const prefix = `${resource.group}/${resource.name}/${namespace === undefined ? "" : `${namespace}/`}`;
    return [...this.#objects]
      .filter(([key]) => key.startsWith(prefix))
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([, object]) => object);
  }

  /** The listing as it was at a version that still is in history; kept for later pages. */
  listAt(resource: Resource, namespace: string | undefined, version: number): readonly KubeObject[] | undefined {
    const key = `${resource.name}/${namespace ?? ""}/${version}`;
    if (version === this.#version) {
      const listed = this.list(resource, namespace);
      this.#snapshots.set(key, listed);
      return listed;
    }
    return version > this.#compacted ? this.#snapshots.get(key) : undefined;
  }

  create(resource: Resource, object: KubeObject): KubeObject {
    const { name, namespace = "" } = object.metadata;
    if (this.get(resource, namespace, name) !== undefined) throw alreadyExists(resource, name);
    const metadata = {
      ...object.metadata,
      uid: randomUUID(),
      creationTimestamp: new Date().toISOString().replace(/\.\d+/, ""),
    };
    return this.#put("ADDED", resource, { ...object, metadata });
  }

  replace(resource: Resource, object: KubeObject): KubeObject {
    const { name, namespace = "" } = object.metadata;
    const before = this.get(resource, namespace, name);
    if (before === undefined) throw notFound(resource, name);
    return this.#put("MODIFIED", resource, object, before);
  }

  remove(resource: Resource, namespace: string, name: string): KubeObject {
    const before = this.get(resource, namespace, name);
    if (before === undefined) throw notFound(resource, name);
    this.#objects.delete(keyOf(resource, namespace, name));
    return this.#record("DELETED", resource, before, before);
  }

  /** Changes after `version`, of whatever kind; undefined if some of them are forgotten. */
  changesSince(version: number): readonly Change[] | undefined {
    if (version < this.#compacted) return undefined;
    return this.#history.filter((change) => change.version > version);
  }

  subscribe(listener: (change: Change) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Forgets every change until now, as etcd's compaction does. */
  compact(): void {
    this.#compacted = this.#version;
    this.#history = [];
    this.#snapshots.clear();
  }

  /** A change of nothing that anyone watches: the version goes on, as it does in every real cluster. */
  tick(by = 1): void {
    this.#version += by;
  }

  /** For `restore()`. */
  save(): { readonly objects: readonly (readonly [string, KubeObject])[]; readonly version: number } {
    return { objects: [...this.#objects], version: this.#version };
  }

  /** The store as it was saved, as after a restore of etcd: the version goes back, and nobody is told. */
  restore(saved: ReturnType<ObjectStore["save"]>): void {
    this.#objects.clear();
    for (const [key, object] of saved.objects) this.#objects.set(key, object);
    this.#version = saved.version;
    this.compact();
  }

  #put(type: Change["type"], resource: Resource, object: KubeObject, before?: KubeObject): KubeObject {
    const recorded = this.#record(type, resource, object, before);
    this.#objects.set(keyOf(resource, object.metadata.namespace ?? "", object.metadata.name), recorded);
    return recorded;
  }

  #record(type: Change["type"], resource: Resource, object: KubeObject, before?: KubeObject): KubeObject {
    const version = ++this.#version;
    const recorded = { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
    const change: Change = { type, resource, object: recorded, version, ...(before !== undefined && { before }) };
    this.#history.push(change);
    for (const listener of this.#listeners) listener(change);
    return recorded;
  }
}

function keyOf(resource: Resource, namespace: string, name: string): string {
  return `${resource.group}/${resource.name}/${namespace}${namespace === "" ? "" : "/"}${name}`;
}

/** A node as a kubelet registers it. */
export function nodeObject(name: string, podCIDRs: readonly string[], more: Partial<KubeObject> = {}): KubeObject {
  const spec = podCIDRs.length === 0 ? {} : { podCIDR: podCIDRs[0], podCIDRs };
  return {
    kind: nodes().kind,
    apiVersion: "v1",
    metadata: {
      name,
      labels: { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux" },
      annotations: { "volumes.kubernetes.io/controller-managed-attach-detach": "true" },
    },
    spec,
    status: {
      conditions: [
        { type: "Ready", status: "True", reason: "KubeletReady", message: "kubelet is posting ready status" },
      ],
      addresses: [{ type: "Hostname", address: name }],
      nodeInfo: { kubeletVersion: "v1.32.4", operatingSystem: "linux", architecture: "amd64" },
    },
    ...more,
  };
}
