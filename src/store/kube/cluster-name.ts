/**
 * A name by which one cluster is told from another: of its authority, else of its address. Versions of two clusters count different
 * changes, though both are numbers.
 */
export function clusterName(server: string, ca: Buffer | string | undefined): string {
  const hash = process.getBuiltinModule("node:crypto").createHash("sha256");
  return `kubernetes/${hash
    .update(ca ?? server)
    .digest("hex")
    .slice(0, 16)}`;
}
