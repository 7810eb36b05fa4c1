//! `file` with `state: hard`: a path is another name of a file that is there.

use async_trait::async_trait;

use crate::change::Change;
use crate::host::View;
use crate::modules::{Module, ModuleError, Planned, Results};
use crate::transport::{Command, Node, Want};

/// A further name for the file `src`.
pub struct HardLink {
    pub path: String,
    pub src: String,
    /// Another file may be replaced; a directory never is.
    pub force: bool,
}

/// Prints what the first path is to the second (`test.1`: `-ef` says whether two names are one file).
const PROBE: &str = r#"if [ ! -e "$1" ] && [ ! -h "$1" ]; then echo absent
elif [ "$1" -ef "$2" ]; then echo "the same file as $2"
elif [ -d "$1" ]; then echo a directory
else echo another file; fi"#;

/// Gives the file its new name beside the path first, so that the path is never absent.
const LINK: &str = r#"ln -- "$2" "$1.cutover.$$" && mv -f -- "$1.cutover.$$" "$1""#;

#[async_trait]
impl Module for HardLink {
    async fn plan(&self, host: &View) -> Result<Planned, ModuleError> {
        let (path, src) = (&self.path, &self.src);
        match host.look(src, Want::Attributes).await? {
            Node::File { .. } | Node::Special { .. } => {}
            Node::Absent => return Err(ModuleError::failed(format!("`{src}` does not exist: nothing to link to"))),
            other => {
                return Err(ModuleError::failed(format!("`{src}` is a {}, which has one name only", other.kind())));
            }
        }
        let command = |script| Command::argv(["/bin/sh", "-c", script, "sh", path.as_str(), src.as_str()]);
        let what = format!("hard link {path}");
        let before = host.state(&what, &command(PROBE)).await?;
        match before.as_str() {
            "a directory" => {
                return Err(ModuleError::failed(format!("`{path}` is a directory, which is not replaced")));
            }
            "another file" if !self.force => {
                let why = format!("`{path}` is another file\nhint: `force: true` replaces it");
                return Err(ModuleError::failed(why));
            }
            _ => {}
        }
        let after = format!("the same file as {src}");
        let change = Change::state(what, command(PROBE), (before, after), vec![command(LINK)]);
        let mut results = Results::new();
        results.insert("dest".into(), path.as_str().into());
        results.insert("src".into(), src.as_str().into());
        results.insert("state".into(), "hard".into());
        Ok(Planned::new(change.into_iter().collect(), results))
    }
}
