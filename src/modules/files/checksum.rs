//! The digests by which `stat` and `find` tell a file's content.

use crate::host::View;
use crate::modules::ModuleError;
use crate::transport::command::quote;
use crate::transport::node::hex;
use crate::transport::{Body, Command, Content, Want};

pub const ALGORITHMS: &[&str] = &["md5", "sha1", "sha224", "sha256", "sha384", "sha512"];

/// One of [`ALGORITHMS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Algorithm(&'static str);

impl Algorithm {
    /// Returns the algorithm of that name, Ansible's `sha1` where none is named.
    pub fn named(name: Option<&str>) -> Algorithm {
        Algorithm(ALGORITHMS.iter().find(|known| Some(**known) == name).copied().unwrap_or("sha1"))
    }

    /// Returns how much of a file has to be looked at: its SHA-256 comes without its content.
    pub fn wants(self) -> Want {
        if self.0 == "sha256" { Want::Digest } else { Want::Content }
    }

    pub fn of(self, bytes: &[u8]) -> String {
        use sha2::Digest as _;
        match self.0 {
            "md5" => hex(&md5::Md5::digest(bytes)),
            "sha224" => hex(&sha2::Sha224::digest(bytes)),
            "sha256" => hex(&sha2::Sha256::digest(bytes)),
            "sha384" => hex(&sha2::Sha384::digest(bytes)),
            "sha512" => hex(&sha2::Sha512::digest(bytes)),
            _ => hex(&sha1::Sha1::digest(bytes)),
        }
    }

    /// Returns the digest of a file that was looked at; the host computes it where its bytes did not come along.
    pub async fn checksum(self, host: &View, path: &str, content: &Content) -> Result<String, ModuleError> {
        match (&content.digest, &content.body) {
            (Some(digest), _) if self.0 == "sha256" => Ok(digest.0.clone()),
            (_, Body::Here(bytes)) => Ok(self.of(bytes)),
            _ => {
                let (name, file) = (self.0, quote(path));
                let script = format!("{name}sum < {file} 2>/dev/null || openssl dgst -r -{name} < {file}");
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
    fn digests_are_those_of_the_standards() {
        let starts = ALGORITHMS.iter().map(|name| Algorithm::named(Some(name)).of(b"abc")[..8].to_string());
        // RFC 1321 and FIPS 180-4, their examples for `abc`.
        let expected = ["90015098", "a9993e36", "23097d22", "ba7816bf", "cb00753f", "ddaf35a1"];
        assert_eq!(starts.collect::<Vec<_>>(), expected);
        assert_eq!(Algorithm::named(None), Algorithm("sha1"));
    }
}
