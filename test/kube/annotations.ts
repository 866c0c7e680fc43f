/** What flannel's annotations begin with, unless told otherwise. */
export const PREFIX = "flannel.alpha.coreos.com/";

/** The annotations of a node whose flannel is a later release's with vxlan. */
export function annotations(publicIP: string, more: Readonly<Record<string, string | null>> = {}) {
  const all: Readonly<Record<string, string | null>> = {
    "kube-subnet-manager": "true",
    "backend-type": "vxlan",
    "backend-data": '{"VNI":1,"VtepMAC":"66:72:44:0d:7e:1a"}',
    "public-ip": publicIP,
    ...more,
  };
  return Object.fromEntries(Object.entries(all).map(([name, value]) => [`${PREFIX}${name}`, value]));
}

/** Those that are to be there: null removes one. */
export function definite(all: Readonly<Record<string, string | null>>): Record<string, string> {
  return Object.fromEntries(Object.entries(all).flatMap(([name, value]) => (value === null ? [] : [[name, value]])));
}
