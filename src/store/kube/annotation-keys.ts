import { InvalidConfigError } from "../../lib/errors.ts";

/** The names of flannel's annotations of a node, as all its releases write them after one prefix. */
export interface AnnotationKeys {
  /** `"true"`: this node is flannel's. */
  readonly managed: string;
  readonly backendType: string;
  readonly backendData: string;
  readonly publicIP: string;
  readonly backendV6Data: string;
  readonly publicIPv6: string;
  /** Written by administrators: the public IP to tell others, whatever the interface says. */
  readonly publicIPOverwrite: string;
  readonly publicIPv6Overwrite: string;
  /** Written by administrators: as `--public-ip`, but per node. */
  readonly nodePublicIP: string;
  readonly nodePublicIPv6: string;
}

const PREFIX = /^[a-z0-9_-]+(\.[a-z0-9_-]+)+\/([a-z0-9_-]+-)?$/;

/**
 * @param prefix `--kube-annotation-prefix`: a domain, a slash, and perhaps a beginning of the names, as later releases take it
 * @throws {InvalidConfigError}
 */
export function annotationKeys(prefix: string): AnnotationKeys {
  const withSlash = prefix.includes("/") ? prefix : `${prefix}/`;
  const whole = /[/-]$/.test(withSlash) ? withSlash : `${withSlash}-`;
  if (!PREFIX.test(whole) || whole.length > 253)
    throw new InvalidConfigError(
      "--kube-annotation-prefix",
      `must be a domain in lower case with at most one / after it, as flannel.alpha.coreos.com, not ${JSON.stringify(prefix)}`,
    );
  return {
    managed: `${whole}kube-subnet-manager`,
    backendType: `${whole}backend-type`,
    backendData: `${whole}backend-data`,
    publicIP: `${whole}public-ip`,
    backendV6Data: `${whole}backend-v6-data`,
    publicIPv6: `${whole}public-ipv6`,
    publicIPOverwrite: `${whole}public-ip-overwrite`,
    publicIPv6Overwrite: `${whole}public-ipv6-overwrite`,
    nodePublicIP: `${whole}node-public-ip`,
    nodePublicIPv6: `${whole}node-public-ipv6`,
  };
}
