/** A kubeconfig for one user. Paths and texts are taken as they are. */
export function kubeconfigText(
  server: string,
  options: {
    readonly ca?: string;
    readonly token?: string;
    readonly cert?: string;
    readonly key?: string;
    readonly user?: object;
    readonly cluster?: object;
  },
): string {
  const { ca, token, cert, key, user = {}, cluster = {} } = options;
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "test",
    clusters: [
      { name: "test", cluster: { server, ...(ca !== undefined && { "certificate-authority": ca }), ...cluster } },
    ],
    contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
    users: [
      {
        name: "test",
        user: {
          ...user,
          ...(token !== undefined && { token }),
          ...(cert !== undefined && { "client-certificate": cert }),
          ...(key !== undefined && { "client-key": key }),
        },
      },
    ],
  });
}
