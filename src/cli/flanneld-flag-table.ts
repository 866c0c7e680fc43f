/** Which etcd, and how to be let in. */
export const ETCD_FLAGS = {
  "etcd-endpoints": {
    kind: "string",
    value: "URLS",
    default: "http://127.0.0.1:4001,http://127.0.0.1:2379",
    help: "etcd servers, separated by commas; the next one is asked when one fails",
  },
  "etcd-prefix": {
    kind: "string",
    value: "KEY",
    default: "/coreos.com/network",
    help: "what flannel's keys in etcd begin with",
  },
  "etcd-keyfile": { kind: "string", value: "FILE", default: "", help: "key of --etcd-certfile" },
  "etcd-certfile": { kind: "string", value: "FILE", default: "", help: "certificate to show to etcd" },
  "etcd-cafile": {
    kind: "string",
    value: "FILE",
    default: "",
    help: "authority that signed etcd's certificate; may be given alone",
  },
  "etcd-username": { kind: "string", value: "NAME", default: "", help: "user to log in to etcd as" },
  "etcd-password": { kind: "string", value: "PASSWORD", default: "", help: "that user's password" },
  "etcd-api": {
    kind: "string",
    value: "2|3|auto",
    default: "auto",
    help: "which of etcd's interfaces holds flannel's keys; auto: find out, and remember in --state-dir",
  },
  "embedded-store": {
    kind: "string",
    value: "FILE",
    default: "",
    help: "keep leases in this file of this host instead of in etcd",
  },
} as const;

/** Kubernetes: what stands in its nodes instead of in a store. */
export const KUBE_FLAGS = {
  "kube-subnet-mgr": {
    kind: "bool",
    default: false,
    help: "be part of a Kubernetes cluster: the subnet is our node's podCIDR; needs NODE_NAME, or POD_NAME and POD_NAMESPACE",
  },
  "kubeconfig-file": {
    kind: "string",
    value: "FILE",
    default: "",
    help: "how to reach the Kubernetes API; if not given, as a pod of the cluster",
  },
  "kube-api-url": {
    kind: "string",
    value: "URL",
    default: "",
    help: "where the Kubernetes API is, instead of where the kubeconfig or the cluster says",
  },
  "kube-annotation-prefix": {
    kind: "string",
    value: "DOMAIN[/NAME]",
    default: "flannel.alpha.coreos.com",
    help: "what the names of flannel's annotations of nodes begin with; the same on all nodes",
  },
  "net-config-path": {
    kind: "string",
    value: "FILE",
    default: "/etc/kube-flannel/net-conf.json",
    help: "with --kube-subnet-mgr, the network's config",
  },
  "set-node-network-unavailable": {
    kind: "bool",
    default: true,
    help: "with --kube-subnet-mgr, tell the node's condition NetworkUnavailable when the network works",
  },
} as const;

/** Client/server mode. */
export const REMOTE_FLAGS = {
  listen: {
    kind: "string",
    value: "HOST:PORT|fd://[N]",
    default: "",
    help: "be a server: give leases to other flannelds instead of taking one; fd:// is a socket of the service manager",
  },
  remote: {
    kind: "string",
    value: "HOST:PORT,…",
    default: "",
    help: "take leases from such servers, which must share one store, instead of from a store",
  },
  "remote-keyfile": { kind: "string", value: "FILE", default: "", help: "key of --remote-certfile" },
  "remote-certfile": {
    kind: "string",
    value: "FILE",
    default: "",
    help: "certificate to show to the other end of --listen or --remote",
  },
  "remote-cafile": {
    kind: "string",
    value: "FILE",
    default: "",
    help: "authority that signed the other end's certificate; with --listen, clients must show one",
  },
  "remote-crlfile": {
    kind: "string",
    value: "FILE",
    default: "",
    help: "certificates that --remote-cafile has revoked",
  },
  "remote-authz": {
    kind: "string",
    value: "cn",
    default: "",
    help: "with --listen, cn: a lease belongs to the certificate that made it, by its common name",
  },
  "remote-admins": {
    kind: "string",
    value: "NAMES",
    default: "",
    help: "with --listen: common names of the certificates that alone may revoke leases and change reservations",
  },
} as const;

const HOST_FLAGS = {
  iface: {
    kind: "list",
    value: "NAME|ADDRESS,…",
    default: [],
    help: "interface to the other hosts; the first that will do of several, which may also be given one by one",
  },
  "iface-regex": {
    kind: "list",
    value: "PATTERN",
    default: [],
    help: "if no --iface will do: the first interface that has an address like this, else one that has such a name; may be repeated",
  },
  "iface-can-reach": {
    kind: "string",
    value: "ADDRESS",
    default: "",
    help: "if none of those will do: the interface that packets to this address leave by",
  },
  "public-ip": {
    kind: "string",
    value: "ADDRESS",
    default: "",
    help: "address other hosts reach this one by, if not the interface's; without an --iface option also names the interface that has it",
  },
  "public-ipv6": {
    kind: "string",
    value: "ADDRESS",
    default: "",
    help: "the same for IPv6, in a network that has it",
  },
  "subnet-file": {
    kind: "string",
    value: "FILE",
    default: "/run/flannel/subnet.env",
    help: "where to write the subnet and the MTU for other programs",
  },
  networks: {
    kind: "string",
    value: "NAMES",
    default: "",
    help: "join these networks, separated by commas, instead of the one without a name",
  },
  "watch-networks": {
    kind: "bool",
    default: false,
    help: "follow networks as they come and go: those of --networks, or all if there are none",
  },
  "subnet-dir": {
    kind: "string",
    value: "DIRECTORY",
    default: "/run/flannel/networks",
    help: "with several networks, where to write NAME.env for each network",
  },
  "state-dir": {
    kind: "string",
    value: "DIRECTORY",
    default: "/var/lib/flannel",
    help: "what must outlive a reboot; every daemon of a host has its own",
  },
  "subnet-lease-renew-margin": {
    kind: "int",
    value: "MINUTES",
    default: 60,
    help: "how long before its end a lease is renewed, 1 to 1439",
  },
  "healthz-ip": {
    kind: "string",
    value: "ADDRESS",
    default: "0.0.0.0",
    help: "with --healthz-port: address of this host to listen on",
  },
  "healthz-port": {
    kind: "int",
    value: "PORT",
    default: 0,
    help: "answer GET /healthz (no loop is stuck) and /readyz (this host has a subnet) here over HTTP; 0: not at all",
  },
  "handover-timeout": {
    kind: "int",
    value: "SECONDS",
    default: 30,
    help: "how long after its end packets wait for the next start, where packets pass through flanneld; 0: not at all",
  },
} as const;

/** The host's settings. */
const SETTINGS_FLAGS = {
  "configure-host": {
    kind: "bool",
    default: false,
    help: "set what packets need of this host's settings (forwarding, rp_filter) and keep it so; otherwise only say what is wrong",
  },
} as const;

/** The host's packet filters. */
const FIREWALL_FLAGS = {
  "ip-masq": {
    kind: "bool",
    default: false,
    help: "give packets that leave the flannel network this host's address",
  },
  "ip-masq-exclude": {
    kind: "string",
    value: "NETWORKS",
    default: "",
    help: "with --ip-masq: networks, separated by commas, that see pods' own addresses",
  },
  "clamp-mss": {
    kind: "bool",
    default: false,
    help: "let TCP connections of the flannel network agree on segments that fit through it, whatever MTU pods have",
  },
  firewall: {
    kind: "string",
    value: "auto|nftables|iptables|none",
    default: "auto",
    help: "what to keep rules with; auto: whatever the host's rules are kept with; none: make no rules",
  },
  "underlay-admission": {
    kind: "bool",
    default: true,
    help: "let in vxlan packets of the network from its hosts only",
  },
} as const;

const PROGRAM_FLAGS = {
  help: { kind: "bool", default: false, help: "show this and exit" },
  version: { kind: "bool", default: false, help: "show the version and exit" },
  v: { kind: "int", value: "LEVEL", default: 0, help: "0: what changes; 1 and more: every step" },
  "log-format": { kind: "string", value: "text|json", default: "text", help: "how log lines look" },
} as const;

/** glog's, accepted so that a command line written for 0.7.0 starts. */
const GLOG_FLAGS = {
  alsologtostderr: { kind: "bool", default: false, help: "without effect; logs go to standard error" },
  log_backtrace_at: { kind: "string", value: "PLACE", default: "", help: "without effect" },
  log_dir: { kind: "string", value: "DIRECTORY", default: "", help: "without effect; logs go to standard error" },
  logtostderr: { kind: "bool", default: true, help: "without effect; logs go to standard error" },
  stderrthreshold: { kind: "string", value: "SEVERITY", default: "ERROR", help: "without effect" },
  vmodule: { kind: "string", value: "PATTERNS", default: "", help: "without effect" },
} as const;

/** Every flag of flanneld: 0.7.0's with their defaults, and ours. */
export const FLANNELD_FLAGS = {
  ...ETCD_FLAGS,
  ...KUBE_FLAGS,
  ...REMOTE_FLAGS,
  ...HOST_FLAGS,
  ...FIREWALL_FLAGS,
  ...SETTINGS_FLAGS,
  ...PROGRAM_FLAGS,
  ...GLOG_FLAGS,
} as const;
