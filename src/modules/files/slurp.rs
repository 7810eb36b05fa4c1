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

use super::place::{Place, bytes_of};

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
        let place = Place::look(host, &self.src, Links::Follow, Want::Content).await?;
        match &place.node {
            Node::File { content, .. } => {
                let content = STANDARD.encode(bytes_of(host, &place.path, content).await?);
                let results = json!({"content": content, "source": self.src, "encoding": "base64"});
                Ok(Planned::new(Vec::new(), Results::from_iter(results.as_object().cloned().unwrap_or_default())))
            }
            Node::Absent => Err(ModuleError::failed(format!("file not found: {}", self.src))),
            other => Err(ModuleError::failed(format!("`{}` is no file but a {}", self.src, other.kind()))),
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
        assert_eq!(bench.fails("slurp", json!({"src": "/etc/none"})).await, "file not found: /etc/none");
        assert!(bench.fails("slurp", json!({"src": "/etc"})).await.contains("no file but a directory"));
    }
}
