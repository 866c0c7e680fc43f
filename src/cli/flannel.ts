import yargs from "yargs";
import { describeError, InvalidConfigError, UnsupportedError } from "../lib/errors.ts";
import { COMMANDS } from "./commands.ts";
import { versionLine } from "./version.ts";

/** Exit code of a command line that makes no sense. */
const USAGE_ERROR = 2;

/** The command line makes no sense, and that has been said. Thrown, since yargs would go on and run the command. */
class UsageError extends Error {
  override readonly name = "UsageError";
}

// `flannel lab logs h1 | head` is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => process.exit(error.code === "EPIPE" ? 0 : 1));

/** Says on standard error what is wrong, with the stack only if the mistake is ours. */
function report(error: unknown): void {
  const isExpected =
    error instanceof InvalidConfigError || error instanceof UnsupportedError || !(error instanceof Error);
  const cause = isExpected ? describeError(error) : (error.stack ?? describeError(error));
  process.stderr.write(`flannel: ${cause}\n`);
}

const program = yargs(process.argv.slice(2))
  .scriptName("flannel")
  .usage("$0 <command>\n\nA subnet for every host and packets between them.")
  .command(COMMANDS)
  .demandCommand(1, "a command is missing")
  .strict()
  .locale("en")
  .version(versionLine)
  .help()
  .alias("help", "h")
  .parserConfiguration({ "populate--": false })
  .fail((message: string | undefined, error: Error | undefined, instance) => {
    if (error !== undefined) throw error;
    const usage = (instance as unknown as { help(): string }).help(); // not what the types say
    process.stderr.write(`${usage}\n\nflannel: ${message}\n`);
    throw new UsageError(message);
  });

// No top-level await, which the CommonJS of a release's executable does not have.
async function run(): Promise<void> {
  await program.wrap(Math.min(100, program.terminalWidth())).parseAsync();
}

void run().catch((error: unknown) => {
  if (!(error instanceof UsageError)) report(error);
  process.exitCode = error instanceof UsageError ? USAGE_ERROR : 1;
});
