//! The keywords of `ssh_config.5`: one table, each row with its arguments and what becomes of it here.

use super::values::Shape::{self, *};

/// A row: one keyword, as `ssh_config.5` spells it.
#[derive(Debug)]
pub struct Keyword {
    pub name: &'static str,
    pub shape: Shape,
    pub support: Support,
}

/// What becomes of a keyword here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It has its effect.
    Used,
    /// It cannot matter to a program that runs its own shells over its own connection.
    Harmless,
    /// Harmless in a file, where it is meant for terminals; on a command line for this run somebody counts on it.
    /// The values are those that ask for nothing.
    Expected(&'static [&'static str]),
    /// It would change how a host is reached, or who is let through, and is not there. The values are those that ask
    /// for nothing.
    Refused(&'static [&'static str]),
}

const fn used(name: &'static str, shape: Shape) -> Keyword {
    Keyword { name, shape, support: Support::Used }
}

const fn harmless(name: &'static str) -> Keyword {
    Keyword { name, shape: Any, support: Support::Harmless }
}

const fn expected(name: &'static str, nothing: &'static [&'static str]) -> Keyword {
    Keyword { name, shape: Any, support: Support::Expected(nothing) }
}

const fn refused(name: &'static str, shape: Shape, nothing: &'static [&'static str]) -> Keyword {
    Keyword { name, shape, support: Support::Refused(nothing) }
}

const OFF: &[&str] = &["no", "false"];
const NONE: &[&str] = &["none"];

const KEYWORDS: &[Keyword] = &[
    // Blocks; their lines are no settings.
    used("Host", Texts),
    used("Match", Any),
    used("Include", Any),
    used("AddressFamily", Choice(&["any", "inet", "inet6"])),
    used("BindAddress", Text),
    used("CertificateFile", EachText),
    used("Ciphers", Algorithms),
    used("Compression", Choice(&["yes", "no"])),
    used("ConnectTimeout", Time),
    used("GlobalKnownHostsFile", Texts),
    used("HostKeyAlgorithms", Algorithms),
    used("HostKeyAlias", Text),
    used("HostName", Text),
    used("IdentitiesOnly", Flag),
    used("IdentityAgent", Text),
    used("IdentityFile", EachText),
    used("IgnoreUnknown", Text),
    used("KbdInteractiveAuthentication", Flag),
    used("KexAlgorithms", Algorithms),
    used("LocalCommand", Command),
    used("MACs", Algorithms),
    used("PasswordAuthentication", Flag),
    used("PermitLocalCommand", Flag),
    used("Port", Port),
    used("PreferredAuthentications", Text),
    used("ProxyCommand", Command),
    used("ProxyJump", Jump),
    used("PubkeyAcceptedAlgorithms", Algorithms),
    used("PubkeyAuthentication", Choice(&["yes", "no", "true", "false", "unbound", "host-bound"])),
    used("ServerAliveCountMax", Number),
    used("ServerAliveInterval", Time),
    used("StrictHostKeyChecking", Choice(&["yes", "no", "true", "false", "ask", "off", "accept-new"])),
    used("Tag", Text),
    used("User", Text),
    used("UserKnownHostsFile", Texts),
    refused("BindInterface", Text, &[]),
    refused("CanonicalizeHostname", Choice(&["yes", "no", "true", "false", "always"]), OFF),
    refused("ChannelTimeout", Texts, NONE),
    refused("CheckHostIP", Flag, OFF),
    refused("ForkAfterAuthentication", Flag, OFF),
    refused("KnownHostsCommand", Command, NONE),
    refused("NoHostAuthenticationForLocalhost", Flag, OFF),
    refused("PKCS11Provider", Text, NONE),
    refused("ProxyUseFdpass", Flag, OFF),
    refused("RefuseConnection", Text, &[]),
    refused("RemoteCommand", Command, NONE),
    refused("RevokedHostKeys", Text, NONE),
    refused("SecurityKeyProvider", Text, &["none", "internal", "$SSH_SK_PROVIDER"]),
    refused("SessionType", Choice(&["none", "subsystem", "default"]), &["default"]),
    refused("Tunnel", Choice(&["yes", "no", "true", "false", "point-to-point", "ethernet"]), OFF),
    refused("VerifyHostKeyDNS", Choice(&["yes", "no", "true", "false", "ask"]), OFF),
    expected("DynamicForward", &[]),
    expected("ForwardAgent", OFF),
    expected("LocalForward", &[]),
    expected("RemoteForward", &[]),
    expected("SendEnv", &[]),
    expected("SetEnv", &[]),
    harmless("AddKeysToAgent"),
    harmless("BatchMode"),
    harmless("CanonicalDomains"),
    harmless("CanonicalizeFallbackLocal"),
    harmless("CanonicalizeMaxDots"),
    harmless("CanonicalizePermittedCNAMEs"),
    harmless("ClearAllForwardings"),
    harmless("ConnectionAttempts"),
    harmless("ControlMaster"),
    harmless("ControlPath"),
    harmless("ControlPersist"),
    harmless("EnableEscapeCommandline"),
    harmless("EnableSSHKeysign"),
    harmless("EscapeChar"),
    harmless("ExitOnForwardFailure"),
    harmless("FingerprintHash"),
    harmless("ForwardX11"),
    harmless("ForwardX11Timeout"),
    harmless("ForwardX11Trusted"),
    // Ways in that are not there are not tried, and the host says which it takes. Debian and Red Hat switch this on for
    // every host.
    harmless("GSSAPIAuthentication"),
    harmless("GSSAPIClientIdentity"),
    harmless("GSSAPIDelegateCredentials"),
    harmless("GSSAPIKexAlgorithms"),
    harmless("GSSAPIKeyExchange"),
    harmless("GSSAPIRenewalForcesRekey"),
    harmless("GSSAPIServerIdentity"),
    harmless("GSSAPITrustDNS"),
    harmless("GatewayPorts"),
    harmless("HashKnownHosts"),
    harmless("HostbasedAcceptedAlgorithms"),
    harmless("HostbasedAuthentication"),
    harmless("IPQoS"),
    harmless("KbdInteractiveDevices"),
    harmless("LogLevel"),
    harmless("LogVerbose"),
    harmless("NumberOfPasswordPrompts"),
    harmless("ObscureKeystrokeTiming"),
    harmless("PermitRemoteOpen"),
    harmless("RekeyLimit"),
    harmless("RequestTTY"),
    harmless("StdinNull"),
    harmless("StreamLocalBindMask"),
    harmless("StreamLocalBindUnlink"),
    harmless("SyslogFacility"),
    harmless("TCPKeepAlive"),
    harmless("TunnelDevice"),
    harmless("UpdateHostKeys"),
    harmless("VersionAddendum"),
    harmless("VisualHostKey"),
    harmless("WarnWeakCrypto"),
    harmless("XAuthLocation"),
    // Bounds that Red Hat's crypto policies set for every host. Here the lists of the host's profile are the bounds.
    harmless("CASignatureAlgorithms"),
    harmless("RequiredRSASize"),
    // Known to the `ssh` of macOS alone.
    harmless("UseKeychain"),
    // `ssh` has given these up and skips them.
    harmless("AFSTokenPassing"),
    harmless("Cipher"),
    harmless("CompressionLevel"),
    harmless("FallBackToRsh"),
    harmless("GlobalKnownHostsFile2"),
    harmless("KerberosAuthentication"),
    harmless("KerberosTgtPassing"),
    harmless("Protocol"),
    harmless("RSAAuthentication"),
    harmless("RhostsAuthentication"),
    harmless("RhostsRSAAuthentication"),
    harmless("UseBlacklistedKeys"),
    harmless("UsePrivilegedPort"),
    harmless("UseRoaming"),
    harmless("UseRsh"),
    harmless("UserKnownHostsFile2"),
];

/// Old names, and the ones in use now.
const OLD_NAMES: &[(&str, &str)] = &[
    ("ChallengeResponseAuthentication", "KbdInteractiveAuthentication"),
    ("DSAAuthentication", "PubkeyAuthentication"),
    ("HostbasedKeyTypes", "HostbasedAcceptedAlgorithms"),
    ("IdentityFile2", "IdentityFile"),
    ("KeepAlive", "TCPKeepAlive"),
    ("ProtocolKeepAlives", "ServerAliveInterval"),
    ("PubkeyAcceptedKeyTypes", "PubkeyAcceptedAlgorithms"),
    ("SetupTimeOut", "ServerAliveInterval"),
    ("SkeyAuthentication", "KbdInteractiveAuthentication"),
    ("SmartcardDevice", "PKCS11Provider"),
    ("TISAuthentication", "KbdInteractiveAuthentication"),
];

/// Returns the row of a keyword in any case.
pub fn find(word: &str) -> Option<&'static Keyword> {
    let old = OLD_NAMES.iter().find(|(old, _)| old.eq_ignore_ascii_case(word));
    let name = old.map_or(word, |(_, name)| name);
    KEYWORDS.iter().find(|keyword| keyword.name.eq_ignore_ascii_case(name))
}

/// Returns every name, for suggestions.
pub fn names() -> impl Iterator<Item = &'static str> {
    KEYWORDS.iter().map(|keyword| keyword.name).chain(OLD_NAMES.iter().map(|(old, _)| *old))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_there_once_and_old_ones_lead_to_rows() {
        let mut lower: Vec<String> = names().map(str::to_ascii_lowercase).collect();
        let count = lower.len();
        lower.sort();
        lower.dedup();
        assert_eq!(lower.len(), count);
        for (old, name) in OLD_NAMES {
            assert_eq!(find(old).unwrap().name, *name);
        }
        assert_eq!(find("hostNAME").unwrap().name, "HostName");
        assert!(find("HostNam").is_none());
    }
}
