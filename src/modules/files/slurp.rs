//! `slurp`: the content of a file of the host, as Base64.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json;

use crate::error::Diagnostic;
use crate::host::View;
use crate::modules::{Argument, Arguments, Entry, Kind, Module, ModuleError, Planned, Results};
use crate::transport::{Links, Node, Want};

use super::place::{Place, bytes_of, unreadable};

pub const SLURP: Entry = Entry {
    name: "slurp",
    summary: "Reads a file of the host into a variable",
    arguments: &[&[Argument::new("src", Kind::Path, "The file.").required().alias(&["path"])]],
    free_form: None,
    example: "- name: Read the old host's routes\n  slurp:\n    src: /var/qmail/control/smtproutes\n  register: routes\n",
    build,
};

#[derive(Deserialize)]
struct Slurp {
    src: String,
}

fn build(arguments: &Arguments) -> Result<Box<dyn Module>, Diagnostic> {
    Ok(Box::new(arguments.read::<Slurp>()?))
}

#[async_trait]
impl Module for Slurp {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let place = Place::look(host, &self.src, Links::Follow, Want::Content).await;
        let place = place.map_err(|error| unreadable(error, &self.src))?;
        match &place.node {
            Node::File { content, .. } => {
                let bytes = bytes_of(host, &place.path, content).await;
                let content = STANDARD.encode(bytes.map_err(|error| unreadable(error, &self.src))?);
                let results = json!({"content": content, "source": self.src, "encoding": "base64"});
                Ok(Planned::new(Vec::new(), Results::from_iter(results.as_object().cloned().unwrap_or_default())))
            }
            Node::Absent if place.parent.exists() && !matches!(place.parent, Node::Directory { .. }) => {
                Err(ModuleError::failed(format!("Unable to slurp file: {} is below what is no directory", self.src)))
            }
            Node::Absent => Err(ModuleError::failed(format!("File not found: {}", self.src))),
            Node::Directory { .. } => {
                Err(ModuleError::failed(format!("Source is a directory and must be a file: {}", self.src)))
            }
            other => Err(ModuleError::failed(format!("Unable to slurp file: {} is a {}", self.src, other.kind()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::modules::files::bench::Bench;

    #[tokio::test]
    async fn any_bytes_come_as_base64() {
        let bench = Bench::new();
        bench.host.file("/etc/b", [0, 255, 10], 0o600).link("/etc/l", "b");
        let results = bench.twice("slurp", json!({"path": "/etc/l"})).await;
        assert_eq!(json!(results), json!({"content": "AP8K", "source": "/etc/l", "encoding": "base64"}));
        assert_eq!(bench.fails("slurp", json!({"src": "/etc/none"})).await, "File not found: /etc/none");
        let of_a_directory = bench.fails("slurp", json!({"src": "/etc"})).await;
        assert_eq!(of_a_directory, "Source is a directory and must be a file: /etc");
        let below_a_file = bench.fails("slurp", json!({"src": "/etc/b/c"})).await;
        assert!(below_a_file.starts_with("Unable to slurp file: /etc/b/c"), "{below_a_file}");
    }
}
