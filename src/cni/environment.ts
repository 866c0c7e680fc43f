import { CNI_CODE, CniError } from "./cni-error.ts";

export const COMMANDS = ["ADD", "DEL", "CHECK", "STATUS", "VERSION", "GC"] as const;

export type Command = (typeof COMMANDS)[number];

/** Environment variables, or a part of them. */
export type Variables = Readonly<Record<string, string | undefined>>;

/** One interface of one container. */
export interface Attachment {
  /** Letters, digits, `_`, `.` and `-`, the first a letter or a digit: safe as a file's name. */
  readonly containerID: string;
  /** 1 to 15 characters without `/`, `:` and white space. */
  readonly ifname: string;
}

/** Which variables a command cannot do without. CNI specification 1.1, section 2. */
const REQUIRED: Readonly<Record<Command, readonly string[]>> = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  GC: ["CNI_PATH"],
  STATUS: [],
  VERSION: [],
};

/** @throws {CniError} unless it is one that a plugin of version 1.1 has */
export function parseCommand(variables: Variables): Command {
  const text = variables["CNI_COMMAND"] ?? "";
  const command = COMMANDS.find((name) => name === text);
  if (command !== undefined) return command;
  throw invalid(
    text === ""
      ? "CNI_COMMAND is not set: this program is for container runtimes"
      : `CNI_COMMAND is ${JSON.stringify(text)}, not one of ${COMMANDS.join(", ")}`,
  );
}

/** @throws {CniError} naming what the command needs and is not set, all at once, or what makes no sense */
export function checkVariables(command: Command, variables: Variables): void {
  const missing = REQUIRED[command].filter((name) => (variables[name] ?? "") === "");
  if (missing.length > 0) throw invalid(`${command} needs ${missing.join(", ")}, which is not set`);
  const { CNI_CONTAINERID: containerID, CNI_IFNAME: ifname } = variables;
  if (REQUIRED[command].includes("CNI_CONTAINERID")) parseAttachment({ containerID, ifname });
}

/** @throws {CniError} naming the part that is not as the specification wants it */
export function parseAttachment({ containerID, ifname }: { containerID: unknown; ifname: unknown }): Attachment {
  if (typeof containerID !== "string" || !/^[a-zA-Z0-9][\w.-]*$/.test(containerID))
    throw invalid(
      `the container's ID is ${JSON.stringify(containerID)}: letters, digits, "_", "." and "-" are expected`,
    );
  if (typeof ifname !== "string" || !/^[^\s/:]{1,15}$/.test(ifname) || ifname === "." || ifname === "..")
    throw invalid(`the interface's name is ${JSON.stringify(ifname)}, which no interface of Linux can have`);
  return { containerID, ifname };
}

/** Where plugins are: directories, the first that has one wins. */
export function pluginDirectories(variables: Variables): readonly string[] {
  return (variables["CNI_PATH"] ?? "").split(":").filter((directory) => directory !== "");
}

function invalid(message: string): CniError {
  return new CniError(CNI_CODE.invalidEnvironment, message);
}
