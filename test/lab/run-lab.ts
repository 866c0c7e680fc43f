// `flannel lab` alone, from the sources.
import yargs from "yargs";
import { labCommand } from "../../src/lab/command.ts";

await yargs(process.argv.slice(2)).scriptName("flannel").command(labCommand).strict().parseAsync();
