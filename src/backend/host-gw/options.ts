/** host-gw has no options. */
export type HostGatewayOptions = Readonly<Record<string, never>>;

export function parseHostGatewayOptions(): HostGatewayOptions {
  return {};
}
