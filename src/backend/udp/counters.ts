import { DROP_REASONS, type DropReason } from "./drop-reason.ts";

/**
 * Numbers that the packet thread writes and nobody else; the main thread reads them whenever it likes. 64-bit floats count exactly up
 * to 2⁵³, and a 64-bit machine writes each in one go.
 */
export type CountersMemory = SharedArrayBuffer;

/** What it took to move the packets. */
export const WORK = [
  "device reads",
  "device writes",
  "socket receives",
  "socket sends",
  "superpackets from the device", // that were cut
  "superpackets to the device", // that were merged
] as const;
export type Work = (typeof WORK)[number];

/** Packets and their bytes, inner headers included and outer ones not. */
export interface Traffic {
  readonly sentPackets: number;
  readonly sentBytes: number;
  readonly receivedPackets: number;
  readonly receivedBytes: number;
}

/** Numbers per slot, and where each lies. */
const SLOT_NUMBERS = 4;
const SENT_PACKETS = 0;
const SENT_BYTES = 1;
const RECEIVED_PACKETS = 2;
const RECEIVED_BYTES = 3;

const WORK_AT = DROP_REASONS.length;
/** Traffic with nobody's slot, then that of slot 0. */
const OTHERS_AT = WORK_AT + WORK.length;
const SLOTS_AT = OTHERS_AT + SLOT_NUMBERS;

/** Peers that are counted one by one; further ones are counted together. Pages that no slot touches take no memory. */
const SLOTS = 131_072;

export function createCounters(slots = SLOTS): CountersMemory {
  return new SharedArrayBuffer((SLOTS_AT + slots * SLOT_NUMBERS) * Float64Array.BYTES_PER_ELEMENT);
}

function slotAt(numbers: Float64Array, slot: number): number {
  const at = SLOTS_AT + slot * SLOT_NUMBERS;
  return slot >= 0 && at < numbers.length ? at : OTHERS_AT;
}

/** The packet thread's side. Nothing here allocates. */
export class CountersWriter {
  readonly #numbers: Float64Array;
  readonly #reasons = new Map<DropReason, number>(DROP_REASONS.map((reason, index) => [reason, index]));
  readonly #work = new Map<Work, number>(WORK.map((work, index) => [work, WORK_AT + index]));

  constructor(memory: CountersMemory) {
    this.#numbers = new Float64Array(memory);
  }

  /** @param slot of the peer they go to */
  sent(slot: number, packets: number, bytes: number): void {
    const at = slotAt(this.#numbers, slot);
    this.#add(at + SENT_PACKETS, packets);
    this.#add(at + SENT_BYTES, bytes);
  }

  /** @param sender a slot, or `ACCEPTED` */
  received(sender: number, packets: number, bytes: number): void {
    const at = slotAt(this.#numbers, sender);
    this.#add(at + RECEIVED_PACKETS, packets);
    this.#add(at + RECEIVED_BYTES, bytes);
  }

  dropped(reason: DropReason, packets: number): void {
    this.#add(this.#reasons.get(reason) as number, packets);
  }

  works(work: Work): void {
    this.#add(this.#work.get(work) as number, 1);
  }

  #add(at: number, amount: number): void {
    this.#numbers[at] = (this.#numbers[at] as number) + amount;
  }
}

/** The main thread's side. Numbers of one reading may be a packet apart. */
export class CountersReader {
  readonly #numbers: Float64Array;
  /** What a slot had counted when its present peer came. */
  readonly #before = new Map<number, Traffic>();
  #slots = 0;

  constructor(memory: CountersMemory) {
    this.#numbers = new Float64Array(memory);
  }

  /** A peer has been given this slot, which another may have had before: what that one did is not counted as its. */
  begin(slot: number): void {
    this.#before.set(slot, this.#at(slotAt(this.#numbers, slot)));
    this.#slots = Math.max(this.#slots, slot + 1);
  }

  /** Traffic with the peer that has this slot, since `begin()`. */
  peer(slot: number): Traffic {
    const before = this.#before.get(slot);
    const now = this.#at(slotAt(this.#numbers, slot));
    return before === undefined ? now : combine(now, before, -1);
  }

  /** Traffic with all peers, those that have gone included, and with whom AcceptFrom lets in. */
  total(): Traffic {
    let total = this.#at(OTHERS_AT);
    for (let slot = 0; slot < this.#slots; slot++) {
      const at = slotAt(this.#numbers, slot);
      if (at === OTHERS_AT) break;
      total = combine(total, this.#at(at), 1);
    }
    return total;
  }

  /** Packets by why they were dropped. */
  drops(): Readonly<Record<DropReason, number>> {
    return this.#record(DROP_REASONS, 0);
  }

  work(): Readonly<Record<Work, number>> {
    return this.#record(WORK, WORK_AT);
  }

  #record<Name extends string>(names: readonly Name[], at: number): Readonly<Record<Name, number>> {
    return Object.fromEntries(names.map((name, index) => [name, this.#numbers[at + index]])) as Record<Name, number>;
  }

  #at(at: number): Traffic {
    const [sentPackets = 0, sentBytes = 0, receivedPackets = 0, receivedBytes = 0] = this.#numbers.subarray(at);
    return { sentPackets, sentBytes, receivedPackets, receivedBytes };
  }
}

function combine(a: Traffic, b: Traffic, sign: 1 | -1): Traffic {
  return {
    sentPackets: a.sentPackets + sign * b.sentPackets,
    sentBytes: a.sentBytes + sign * b.sentBytes,
    receivedPackets: a.receivedPackets + sign * b.receivedPackets,
    receivedBytes: a.receivedBytes + sign * b.receivedBytes,
  };
}
