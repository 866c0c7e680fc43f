import type { Plan, RowFailure, Table } from "../../dataplane/table.ts";
import type { Kernel, SysctlRow } from "../../kernel/kernel.ts";
import type { Abortable } from "../../lib/abortable.ts";
import type { Logger } from "../../lib/logger.ts";
import { type HostSetting, sysctlName, type TakenAlong } from "./needs.ts";
import type { ChangedSetting, SettingsRecord } from "./settings-record.ts";

export interface SettingRow extends SysctlRow {
  /** Of a listed row: whether packets pass with it. */
  readonly suffices?: boolean;
  /** Of a listed row: the value of all links, which is larger and counts. */
  readonly ofAll?: string | undefined;
}

type SettingsKernel = Pick<Kernel, "sysctlTable" | "listLinks">;

/** A network's settings of this host. What suffices is left as it is; before anything is changed, it is remembered as it was. */
export class SettingsTable implements Table<SettingRow> {
  readonly name = "host settings";
  readonly rows: readonly SettingRow[];
  readonly #settings: ReadonlyMap<string, HostSetting>;
  readonly #kernel: SettingsKernel;
  readonly #values: Table<SysctlRow>;
  readonly #record: SettingsRecord | undefined;
  readonly #logger: Logger;

  /** @param record undefined: nothing is ever changed */
  constructor(
    settings: readonly HostSetting[],
    { kernel, record, logger }: { kernel: SettingsKernel; record: SettingsRecord | undefined; logger: Logger },
  ) {
    this.rows = settings.map(({ key, value }) => ({ key, value }));
    this.#settings = new Map(settings.map((setting) => [setting.key, setting]));
    this.#kernel = kernel;
    this.#values = kernel.sysctlTable({
      keys: [...new Set(settings.flatMap(({ key, besides }) => [key, ...besides]))],
    });
    this.#record = record;
    this.#logger = logger;
  }

  key({ key }: SettingRow): string {
    return key;
  }

  equal(desired: SettingRow, actual: SettingRow): boolean {
    return actual.suffices ?? desired.value === actual.value;
  }

  format({ key, value, ofAll }: SettingRow): string {
    return `${sysctlName(key)} = ${value}${ofAll === undefined ? "" : ` (all: ${ofAll})`}`;
  }

  async list(options: Abortable): Promise<readonly SettingRow[]> {
    const values = new Map((await this.#values.list(options)).map(({ key, value }) => [key, value]));
    return [...this.#settings.values()].map(({ key, suffices, ofAll: keyOfAll }) => {
      const value = values.get(key);
      if (value === undefined) return { key, value: "(not there)", suffices: true };
      const common = keyOfAll === undefined ? undefined : values.get(keyOfAll);
      const ofAll = common !== undefined && Number(common) > Number(value) ? common : undefined;
      return { key, value, ofAll, suffices: suffices(value, values, this.#record?.has(key) ?? false) };
    });
  }

  async apply({ puts }: Plan<SettingRow>, options: Abortable): Promise<readonly RowFailure<SettingRow>[]> {
    const before = new Map((await this.list(options)).map((row) => [row.key, row.value]));
    const news = puts.filter(({ key }) => !(this.#settings.get(key)?.isOurs || this.#record?.has(key)));
    const changes: ChangedSetting[] = [];
    for (const { key, value } of news) {
      const takesAlong = this.#settings.get(key)?.takesAlong;
      changes.push({ key, found: before.get(key) ?? "", set: value });
      if (takesAlong !== undefined) changes.push(...(await this.#takenAlong(takesAlong, options)));
    }
    await this.#record?.remember(changes);
    const failures = await this.#values.apply({ puts, removals: [] }, options);
    for (const row of news)
      if (!failures.some((failure) => failure.row.key === row.key))
        this.#logger.info("changed a setting of this host; flannel cleanup puts it back", {
          sysctl: this.format(row),
          was: before.get(row.key),
          otherwise: this.#settings.get(row.key)?.harm,
        });
    return failures;
  }

  watch(onChange: () => void): Disposable {
    return this.#values.watch?.(onChange) ?? { [Symbol.dispose]: () => {} };
  }

  /** Values that will not be again what they are when the switch is turned off. */
  async #takenAlong({ perLink, others }: TakenAlong, options: Abortable): Promise<readonly ChangedSetting[]> {
    const links = ["default", ...(await this.#kernel.listLinks(options)).map(({ name }) => name)];
    const whenOff = new Map([
      ...others.map(({ key, whenOff }) => [key, whenOff] as const),
      ...links.map((link) => [perLink.pattern.replace("*", () => link), perLink.whenOff] as const),
    ]);
    const found = await this.#kernel.sysctlTable({ keys: [...whenOff.keys()] }).list(options);
    return found
      .filter(({ key, value }) => value !== whenOff.get(key))
      .map(({ key, value }) => ({ key, found: value }));
  }
}
