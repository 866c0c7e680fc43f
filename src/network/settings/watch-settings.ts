import type { Abortable } from "../../lib/abortable.ts";
import type { Clock, Milliseconds } from "../../lib/clock.ts";
import { describeError, isAbort } from "../../lib/errors.ts";
import type { Logger } from "../../lib/logger.ts";
import { type HostSetting, sysctlName } from "./needs.ts";
import type { SettingsTable } from "./settings-table.ts";

/** Not everything is announced when it changes. */
const LOOK_EVERY: Milliseconds = 60_000;
/** Container runtimes start when the subnet is published, and set up the host then. */
const RUNTIME_STARTS: Milliseconds = 60_000;
/** One `sysctl --system` changes many. */
const SETTLED: Milliseconds = 500;

export interface SettingsWatchOptions extends Abortable {
  readonly settings: readonly HostSetting[];
  readonly table: SettingsTable;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Says of each setting that does not suffice what it breaks, once until it was right in between. Changes nothing. */
export async function watchSettings({ settings, table, clock, logger, signal }: SettingsWatchOptions): Promise<never> {
  let told: ReadonlySet<string> = new Set();
  const runtimeHasStarted = clock.now() + RUNTIME_STARTS;
  let news = Promise.withResolvers<void>();
  using _watch = table.watch(() => news.resolve());
  for (;;) {
    const isEarly = clock.now() < runtimeHasStarted;
    try {
      const unmet = (await table.list({ signal })).filter(({ suffices }) => suffices === false);
      const needs = settings.flatMap((setting) => {
        const found = unmet.find(({ key }) => key === setting.key);
        return found === undefined || (isEarly && setting.isUsuallySet) ? [] : { setting, found };
      });
      const precautions = needs.filter(({ setting }) => setting.isPrecaution);
      for (const { setting, found } of needs) {
        if (told.has(setting.key) || setting.isPrecaution) continue;
        const family = setting.key.split("/", 2).join("/");
        const first = precautions.filter((each) => each.setting.key.startsWith(family)).map((each) => each.setting);
        const assignments = [...first, setting].map(({ key, value }) => `${sysctlName(key)}=${value}`);
        logger.warn(setting.harm, {
          sysctl: table.format(found),
          remedy: `--configure-host, or sysctl -w ${assignments.join(" ")}`,
        });
      }
      told = new Set(needs.map(({ setting }) => setting.key));
    } catch (error) {
      if (isAbort(error, signal)) throw error;
      logger.debug("cannot look at this host's settings", { reason: describeError(error) });
    }
    const nap = new AbortController();
    const slept = clock.sleep(isEarly ? runtimeHasStarted - clock.now() : LOOK_EVERY, {
      signal: AbortSignal.any([signal, nap.signal]),
    });
    await Promise.race([slept, news.promise]);
    nap.abort();
    await clock.sleep(SETTLED, { signal });
    news = Promise.withResolvers();
  }
}
