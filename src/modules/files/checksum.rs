//! The digests by which `stat`, `find` and `get_url` tell a file's content.

use crate::crypt;
use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::command::quote;
use crate::transport::{Body, Command, Content, Want};

/// Those of `stat` and `find`.
pub const ALGORITHMS: &[&str] = &["md5", "sha1", "sha224", "sha256", "sha384", "sha512"];

/// One of [`crypt::DIGESTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithm(&'static str);

impl Algorithm {
    /// Returns the algorithm of that name, Ansible's `sha1` where none is named.
    pub fn named(name: Option<&str>) -> Algorithm {
        Algorithm(crypt::DIGESTS.iter().find(|known| Some(**known) == name).copied().unwrap_or("sha1"))
    }

    /// Returns how much of a file has to be looked at: its SHA-256 comes without its content.
    pub fn wants(self) -> Want {
        if self.0 == "sha256" { Want::Digest } else { Want::Content }
    }

    pub fn of(self, bytes: &[u8]) -> String {
        crypt::digest(self.0, bytes).unwrap_or_default()
    }

    /// Returns shell text that sets `sum` to a program of the host that prints the digest of its stdin.
    pub fn program(self) -> String {
        let name = self.0;
        let openssl = match name {
            "blake2b" => "blake2b512".into(),
            "blake2s" => "blake2s256".into(),
            _ => name.replace('_', "-"),
        };
        format!("if command -v {name}sum >/dev/null; then sum={name}sum; else sum='openssl dgst -r -{openssl}'; fi")
    }

    /// Returns the digest of a file that was looked at; the host computes it where its bytes did not come along.
    pub async fn checksum(self, host: &View, path: &str, content: &Content) -> Result<String, ModuleError> {
        match (&content.digest, &content.body) {
            (Some(digest), _) if self.0 == "sha256" => Ok(digest.0.clone()),
            (_, Body::Here(bytes)) => Ok(self.of(bytes)),
            _ => {
                let (name, file) = (self.0, quote(path));
                let script = format!("{}\n$sum <{file}", self.program());
                let output = host.probe(&Command::shell(script)).await?;
                match output.text().split_whitespace().next() {
                    Some(digest) if output.success() => Ok(digest.to_string()),
                    _ => {
                        Err(ModuleError::failed(format!("no {name} of `{path}`: the host needs {name}sum or openssl")))
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_has_the_same_digests() {
        for name in crypt::DIGESTS {
            let algorithm = Algorithm::named(Some(name));
            let script = format!("{}\nprintf abc | $sum", algorithm.program());
            #[allow(clippy::disallowed_methods)]
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            assert_eq!(text.split_whitespace().next(), Some(algorithm.of(b"abc").as_str()), "{name}");
        }
        assert_eq!(Algorithm::named(None), Algorithm("sha1"));
    }
}
