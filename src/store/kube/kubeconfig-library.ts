// What is used of @kubernetes/client-node. The build makes a file of its own of this, with these parts of the library only: all of
// it takes 80 MiB and a second to load, and nothing but --kubeconfig-file needs any.
export { KubeConfig } from "@kubernetes/client-node";
export { load as parseYaml } from "js-yaml";
export { OidcSession } from "./kubeconfig-oidc.ts";
export { ProviderSession } from "./kubeconfig-provider.ts";
