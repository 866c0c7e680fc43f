import type { FirewallSurvey, Flavour } from "../../kernel/firewall/firewall.ts";

/** `--firewall` */
export type FlavourChoice = "auto" | "nftables" | "iptables" | "none";

export interface ChosenFlavour {
  readonly flavour: Flavour;
  /** Why, for the log. */
  readonly reason: string;
}

/** Where rules of ours should live on this host; undefined if there is nowhere. Pure. */
export function chooseFlavour(choice: FlavourChoice, survey: FirewallSurvey): ChosenFlavour | undefined {
  if (choice === "none") return undefined;
  if (choice === "nftables")
    return survey.nftables ? { flavour: "nftables", reason: "--firewall=nftables" } : undefined;
  if (choice === "auto" && survey.nftables && survey.isOurs)
    return { flavour: "nftables", reason: "our rules are there already" };
  const inUse = iptablesInUse(survey);
  if (inUse !== undefined) return inUse;
  if (choice === "auto" && survey.nftables) return { flavour: "nftables", reason: "no rules of iptables on this host" };
  const usual = survey.usual ?? (survey.nft.installed ? "nft" : "legacy");
  if (!survey[usual].installed) return undefined;
  return {
    flavour: `iptables-${usual}`,
    reason: choice === "iptables" ? "--firewall=iptables" : "nftables cannot be used on this host",
  };
}

/** The iptables whose rules are on the host already; of two, that which is called by its plain name. */
function iptablesInUse({ nft, legacy, usual }: FirewallSurvey): ChosenFlavour | undefined {
  const nftInUse = nft.installed && nft.inUse;
  const legacyInUse = legacy.installed && legacy.inUse;
  if (!nftInUse && !legacyInUse) return undefined;
  if (nftInUse && legacyInUse)
    return { flavour: `iptables-${usual ?? "nft"}`, reason: "rules of both iptables are on this host" };
  const kind = nftInUse ? "nft" : "legacy";
  return { flavour: `iptables-${kind}`, reason: `rules of iptables-${kind} are on this host` };
}
