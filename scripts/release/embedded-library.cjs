// koffi, which is machine code, inside of the one executable of a release. The loader of such code takes files only, so it becomes one
// that has no name and needs no disk: a memfd (Linux 3.17), made through Node's own, small FFI.
const { closeSync, mkdtempSync, openSync, readdirSync, readlinkSync, rmSync, writeSync } = require("node:fs");
const { join } = require("node:path");
const { getRawAsset } = require("node:sea");

const NAME = "flannel-koffi";
const MFD_CLOEXEC = 1;
/** Linux 6.3: whether the file may be executed is said, and `vm.memfd_noexec` may forbid it; mapping it as code needs no such right. */
const MFD_NOEXEC_SEAL = 8;

/** A descriptor of an empty file in memory; negative if this system has none for us. */
function memoryFile() {
  const { functions, lib } = require("node:ffi").dlopen(null, {
    memfd_create: { arguments: ["string", "u32"], return: "i32" },
  });
  try {
    const descriptor = functions.memfd_create(NAME, MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    return descriptor >= 0 ? descriptor : functions.memfd_create(NAME, MFD_CLOEXEC);
  } finally {
    lib.close();
  }
}

/** The same on a disk, without a name as soon as it is open. */
function temporaryFile() {
  const directory = mkdtempSync(join(process.env.TMPDIR || "/tmp", `${NAME}-`));
  try {
    return openSync(join(directory, "koffi.node"), "wx+", 0o700);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function write(descriptor) {
  const contents = new Uint8Array(getRawAsset("koffi.node"));
  for (let at = 0; at < contents.length; ) at += writeSync(descriptor, contents, at);
}

/** What the main thread has opened, seen from another thread: a second copy would be a second library. */
function opened() {
  return readdirSync("/proc/self/fd").find((descriptor) => {
    try {
      return readlinkSync(`/proc/self/fd/${descriptor}`).includes(NAME);
    } catch {
      return false; // closed meanwhile
    }
  });
}

/** The library's file, for `process.dlopen`. */
exports.path = () => {
  const descriptor = require("node:worker_threads").isMainThread ? undefined : opened();
  if (descriptor !== undefined) return `/proc/self/fd/${descriptor}`;
  const inMemory = memoryFile();
  const file = inMemory >= 0 ? inMemory : temporaryFile();
  try {
    write(file);
  } catch (error) {
    closeSync(file);
    throw error;
  }
  return `/proc/self/fd/${file}`;
};
