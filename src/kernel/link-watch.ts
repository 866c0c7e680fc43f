import { text } from "../wire/codecs.ts";
import { IFLA_IFNAME, LinkMessage, RTM_DELLINK, RTM_NEWLINK } from "../wire/link-message.ts";
import { AF_UNSPEC } from "../wire/netlink-header.ts";
import { findAttribute } from "../wire/schema.ts";
import { LITTLE_ENDIAN } from "../wire/writer.ts";
import { type LinkState, linkState } from "./links.ts";
import type { Notification } from "./monitor.ts";

/** A link that appeared, went, or became usable or unusable. */
export interface LinkChange {
  readonly name: string;
  readonly before: LinkState | undefined;
  readonly after: LinkState | undefined;
}

/** Which notifications {@link LinkWatch} must be shown. */
export const LINK_NOTIFICATIONS = [RTM_NEWLINK, RTM_DELLINK] as const;

/** What a table saw of the links it stands on, so that it notices when that is no longer true. */
export class LinkWatch {
  readonly #seen = new Map<string, LinkState | undefined>();

  /** What was found when the table last looked; undefined if there is no such link. */
  saw(name: string, state: LinkState | undefined): void {
    this.#seen.set(name, state);
  }

  index(name: string): number | undefined {
    return this.#seen.get(name)?.index;
  }

  /** Whether one of the links that were looked at has this index. */
  has(index: number): boolean {
    return this.#nameOf(index) !== undefined;
  }

  /** What the notification changes for a link that was looked at; undefined if nothing. */
  notice(notification: Notification): LinkChange | undefined {
    const { source, start, end, type } = notification;
    if (source.bytes[start] !== AF_UNSPEC) return undefined;
    const after = linkState(
      source.view.getInt32(start + 4, LITTLE_ENDIAN),
      source.view.getUint32(start + 8, LITTLE_ENDIAN),
    );
    const [from, to] = findAttribute(source, start + LinkMessage.headerSize, end, IFLA_IFNAME);
    const name = from < 0 ? "" : text.read(source, from, to);
    const former = this.#nameOf(after.index);
    if (former !== undefined && (type === RTM_DELLINK || former !== name)) return this.#change(former, undefined);
    if (type === RTM_DELLINK || !this.#seen.has(name)) return undefined;
    const before = this.#seen.get(name);
    if (before?.index === after.index && before.usable === after.usable) return undefined;
    return this.#change(name, after);
  }

  #change(name: string, after: LinkState | undefined): LinkChange {
    const before = this.#seen.get(name);
    this.#seen.set(name, after);
    return { name, before, after };
  }

  #nameOf(index: number): string | undefined {
    for (const [name, state] of this.#seen) if (state?.index === index) return name;
    return undefined;
  }
}
