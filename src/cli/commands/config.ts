import { readFile } from "node:fs/promises";
import { text as readAll } from "node:stream/consumers";
import type { Argv, CommandModule } from "yargs";
import { ConfigNotFoundError } from "../../lease/errors.ts";
import { describeError, InvalidConfigError } from "../../lib/errors.ts";
import { checkConfig, describeConfig, type EffectiveConfig } from "./config-check.ts";
import { editText } from "./editor.ts";
import { print, printJson } from "./output.ts";
import { runStoreCommand } from "./store-command.ts";
import { withStoreOptions } from "./store-options.ts";

/** What an editor shows where there is no config yet. */
const TEMPLATE = `{
  "Network": "10.5.0.0/16",
  "Backend": { "Type": "vxlan" }
}
`;

const EFFECTIVE = `EFFECTIVE is the config with its defaults, {Network, SubnetLen, SubnetMin, SubnetMax, Backend}`;

/** `flannel config …`: the config of a network. */
export const configCommand: CommandModule = {
  command: "config",
  describe: "Show and change a network's config",
  builder: (yargs) =>
    yargs
      .command("get", "Show the config as it is stored", getOptions, (args) =>
        runStoreCommand(args, async ({ withStore }) => {
          const stored = await withStore(false, ({ store }, options) => store.getConfig(args.network, options));
          const checked = await tryCheck(stored.text);
          if (args.json) printJson({ text: stored.text, revision: String(stored.revision), ...checked });
          else print(stored.text.trimEnd());
          if (checked.error !== null) throw new InvalidConfigError("", `this config does not work: ${checked.error}`);
          if (!args.json) warn(checked.warnings);
        }),
      )
      .command("set <config>", "Check a config and store it", setOptions, (args) =>
        runStoreCommand(args, async ({ withStore }) => {
          const text = await readConfig(args.config);
          const { effective, warnings } = await checkConfig(text);
          const name = await withStore(true, async ({ store, storeName }, options) => {
            await store.setConfig(args.network, text, options);
            return storeName;
          });
          report(args, name, effective, warnings);
        }),
      )
      .command("edit", "Change the config in $VISUAL or $EDITOR", editOptions, (args) =>
        runStoreCommand(args, async ({ withStore }) => {
          const before = await withStore(true, ({ store }, options) =>
            store.getConfig(args.network, options).catch((error: unknown) => {
              if (error instanceof ConfigNotFoundError) return { text: TEMPLATE, revision: 0n };
              throw error;
            }),
          );
          const draft = await editText(before.text, "config.json", process.env);
          if (draft.text === before.text && before.revision !== 0n) {
            await draft.discard();
            if (args.json) printJson({ stored: false });
            else print("nothing was changed");
            return;
          }
          try {
            const { effective, warnings } = await checkConfig(draft.text);
            const name = await withStore(true, async ({ store, storeName }, options) => {
              await store.setConfig(args.network, draft.text, { ...options, expected: before.revision });
              return storeName;
            });
            report(args, name, effective, warnings);
          } catch (error) {
            process.stderr.write(`flannel: nothing was stored; your text is in ${draft.file}\n`);
            throw error;
          }
          await draft.discard();
        }),
      )
      .demandCommand(1, "say what to do with the config")
      .strict(),
  handler: () => {},
};

function getOptions(yargs: Argv) {
  return withStoreOptions(yargs).epilogue(
    `Ends with 1 if the config does not work, and says why.

--json prints {text, revision, effective: EFFECTIVE or null, warnings: [TEXT], error: TEXT or null};
${EFFECTIVE}, revision a string of digits.`,
  );
}

function setOptions(yargs: Argv) {
  return withStoreOptions(yargs)
    .positional("config", {
      type: "string",
      demandOption: true,
      describe: "JSON, the name of a file, or - for standard input",
    })
    .epilogue(`--json prints {stored: true, effective: EFFECTIVE, warnings: [TEXT]};\n${EFFECTIVE}.`);
}

function editOptions(yargs: Argv) {
  return withStoreOptions(yargs).epilogue(
    `Nothing is stored if the text does not work or another has changed the config meanwhile; the text is kept then.

--json prints {stored: false} if nothing was changed, else {stored: true, effective: EFFECTIVE, warnings: [TEXT]};
${EFFECTIVE}.`,
  );
}

async function readConfig(argument: string): Promise<string> {
  // yargs makes an empty text of a lone hyphen.
  if (argument === "-" || (argument === "" && process.argv.includes("-"))) return await readAll(process.stdin);
  if (/^\s*[{["]/.test(argument)) return argument;
  try {
    return await readFile(argument, "utf8");
  } catch (error) {
    throw new InvalidConfigError("", `neither JSON nor a file that can be read: ${describeError(error)}`, {
      cause: error,
    });
  }
}

async function tryCheck(text: string) {
  try {
    return { ...(await checkConfig(text)), error: null };
  } catch (error) {
    if (!(error instanceof InvalidConfigError)) throw error;
    return { effective: null, warnings: [], error: error.message };
  }
}

function report(
  args: { readonly network: string; readonly json: boolean },
  storeName: string,
  effective: EffectiveConfig,
  warnings: readonly string[],
): void {
  if (args.json) return printJson({ stored: true, effective, warnings });
  const network = args.network === "" ? "" : ` of network ${args.network}`;
  print(`stored the config${network} in ${storeName}`, ...describeConfig(effective));
  warn(warnings);
}

function warn(warnings: readonly string[]): void {
  for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
}
