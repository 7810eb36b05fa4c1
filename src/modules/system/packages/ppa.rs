//! Archives of Launchpad's: what `ppa:OWNER/NAME` stands for, and the key that signs it.

use serde_json::Value;

use crate::change::Change;
use crate::host::View;
use crate::modules::files::place::join;
use crate::modules::net::web::body;
use crate::modules::{Module, ModuleError};
use crate::transport::Command;

use super::apt_key::Key;

/// Where Launchpad tells of its archives (its web service, `archive`), has their packages, and where their keys are.
const TOLD: &str = "https://api.launchpad.net/1.0";
const KEPT: &str = "https://ppa.launchpadcontent.net";
const KEYS: &str = "hkp://keyserver.ubuntu.com:80";

/// Prints the name of the Ubuntu that a host is or is made from (os-release(5)).
const CODENAME: &str = r#"[ -r /etc/os-release ] || exit
. /etc/os-release
echo "${UBUNTU_CODENAME:-$VERSION_CODENAME}""#;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ppa {
    owner: String,
    name: String,
}

impl Ppa {
    /// Reads `ppa:OWNER/NAME`; the name is `ppa` unless given.
    pub fn read(text: &str) -> Option<Ppa> {
        let rest = text.trim().strip_prefix("ppa:")?;
        let (owner, name) = rest.split_once('/').unwrap_or((rest, "ppa"));
        let is_name = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphanumeric())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        };
        let owner = owner.trim_start_matches('~');
        (is_name(owner) && is_name(name)).then(|| Ppa { owner: owner.into(), name: name.into() })
    }

    /// Returns the line of its packages for a release, and the name of the file for it.
    pub fn line(&self, codename: &str) -> (String, String) {
        let Ppa { owner, name } = self;
        let file = format!("ppa_{owner}_{name}_{codename}").replace(['+', '-', '.'], "_");
        (format!("deb {KEPT}/{owner}/{name}/ubuntu {codename} main"), format!("{file}.list"))
    }

    /// Returns what puts the key that signs it beside apt's others, in `directory`.
    pub async fn key(&self, host: &View, directory: &str) -> Result<Vec<Change>, ModuleError> {
        let Ppa { owner, name } = self;
        let url = format!("{TOLD}/~{owner}/+archive/{name}");
        let told: Value = serde_json::from_slice(&body(host, &url, true).await?).unwrap_or_default();
        let fingerprint = told["signing_key_fingerprint"]
            .as_str()
            .filter(|text| text.len() == 40 && text.chars().all(|digit| digit.is_ascii_hexdigit()));
        let Some(fingerprint) = fingerprint else {
            return Err(ModuleError::failed(format!("`{url}` names no key that signs the archive")));
        };
        let keyring = join(directory, &format!("trusted.gpg.d/{owner}-ubuntu-{name}.asc"));
        Ok(Key::of_server((KEYS, &fingerprint.to_uppercase()), keyring).plan(host).await?.changes)
    }
}

/// Returns the codename of the host's Ubuntu.
pub async fn codename(host: &View) -> Result<String, ModuleError> {
    let found = host.probe(&Command::shell(CODENAME)).await?.text().trim().to_string();
    match found.is_empty() {
        true => {
            Err(ModuleError::failed(format!("`{}` does not say which Ubuntu it is\nhint: give `codename`", host.name)))
        }
        false => Ok(found),
    }
}

#[cfg(test)]
mod tests {
    use super::Ppa;

    #[test]
    fn a_short_name_stands_for_an_archive() {
        let line = |text: &str| Ppa::read(text).map(|ppa| ppa.line("noble"));
        assert_eq!(
            line("ppa:nginx/stable-1").unwrap(),
            (
                "deb https://ppa.launchpadcontent.net/nginx/stable-1/ubuntu noble main".into(),
                "ppa_nginx_stable_1_noble.list".into()
            )
        );
        assert_eq!(line("ppa:~ann").unwrap().1, "ppa_ann_ppa_noble.list");
        assert_eq!([line("ppa:"), line("ppa:a/b/c"), line("ppa:a/../b"), line("deb x y")], [None, None, None, None]);
    }
}
